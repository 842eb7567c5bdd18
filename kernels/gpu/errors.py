"""What goes wrong with a device: there is none, it reports an error, or its memory is full."""

NO_DRIVER = "no NVIDIA driver was found on this machine; everything works on the CPU"
INSTALL = 'pip install "nanostn[cuda]"'


class DeviceError(RuntimeError):
    """There is no GPU to compute on, or it reports an error."""


class OutOfDeviceMemory(DeviceError, MemoryError):
    """A request for memory that the device cannot meet."""
