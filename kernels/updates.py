"""The updates of the optimisers, in place, in one pass over a parameter.

p: parameter, g: its gradient; all arrays of one shape and dtype, C-contiguous. Options are Python numbers.
"""

import math

import numba as nb


def sgd(p, g, velocity, learning_rate, momentum, weight_decay, nesterov):
    """v <- momentum v + g + weight_decay p;  p <- p - learning_rate v  (nesterov: g + weight_decay p + momentum v)."""
    _sgd(p.reshape(-1), g.reshape(-1), velocity.reshape(-1), float(learning_rate), float(momentum), float(weight_decay),
         bool(nesterov))


def adam(p, g, m, v, step, learning_rate, beta1, beta2, eps, weight_decay):
    """m, v <- moving means of g and g^2 (g with weight_decay p);  p <- p - learning_rate m^ / (sqrt(v^) + eps).

    Step 1 is the first: m^ = m / (1 - beta1^step), v^ = v / (1 - beta2^step). Kingma and Ba 2015, algorithm 1.
    """
    _adam(p.reshape(-1), g.reshape(-1), m.reshape(-1), v.reshape(-1), learning_rate / (1 - beta1**step), float(beta1),
          float(beta2), 1 / math.sqrt(1 - beta2**step), float(eps), float(weight_decay))


@nb.njit(cache=True, nogil=True, parallel=True)
def _sgd(p, g, velocity, learning_rate, momentum, weight_decay, nesterov):
    T = p.dtype.type
    rate, momentum_, decay = T(learning_rate), T(momentum), T(weight_decay)
    for i in nb.prange(p.size):
        slope = g[i] + decay * p[i]
        velocity[i] = momentum_ * velocity[i] + slope
        p[i] -= rate * (slope + momentum_ * velocity[i] if nesterov else velocity[i])


@nb.njit(cache=True, nogil=True, parallel=True)
def _adam(p, g, m, v, rate, beta1, beta2, correction, eps, weight_decay):
    T = p.dtype.type
    rate_, b1, b2, correction_, eps_, decay = T(rate), T(beta1), T(beta2), T(correction), T(eps), T(weight_decay)
    one = T(1)
    for i in nb.prange(p.size):
        slope = g[i] + decay * p[i]
        m[i] += (one - b1) * (slope - m[i])
        v[i] += (one - b2) * (slope * slope - v[i])
        p[i] -= rate_ * m[i] / (math.sqrt(v[i]) * correction_ + eps_)
