"""The other layers of a network, and the updates of its parameters."""
