"""Muon: orthogonalised momentum for convolution kernels, Adam for everything else.

Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) replaces
the momentum of a weight matrix by the nearest matrix whose singular values are all about one, so
that every direction of the update gets the same length. The factor 0.2 sqrt(max(rows, columns))
(J. Liu et al., "Muon is scalable for LLM training", 2025, arXiv:2502.16982) gives the update the
root mean square of a typical Adam step, so that its learning rate reads like Adam's.

What differs here: the matrices are convolution kernels, reshaped to (height x width x in, out).
"""

import tensorflow as tf

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients (a, b, c) of one step `X <- a X + b (X X^T) X + c (X X^T)^2 X`."""

NEWTON_SCHULZ_STEPS = 5

SMALLEST_NORM = 1e-12
"""Of a momentum that is still turned into an update of full length.

A kernel behind dead units has no gradient; its momentum fades until the squares in its norm
underflow, and a matrix divided by too small a norm makes the Newton-Schulz steps diverge.
"""

SMALLEST_MATRIX = 16
"""Kernels with fewer rows or columns than this stay with Adam."""


def orthogonalize(matrices, dtype=tf.float32):
    """Brings all singular values of each matrix close to one, keeping its singular vectors.

    `X_0 = M / ||M||_F`, then five times `X <- a X + (b A + c A^2) X` with `A = X X^T`, where M is
    transposed first if it has more rows than columns: A is the smaller of the two Gram matrices.
    The coefficients trade accuracy for speed: singular values end between about 0.7 and 1.2, not
    at 1. A matrix of zeros stays zero.

    Args:
        matrices: float32 [..., rows, columns], rows and columns static.
        dtype: of the products; float32 or bfloat16.

    Returns:
        float32, shape of `matrices`.
    """
    rows, columns = matrices.shape[-2:]
    norm = tf.sqrt(tf.reduce_sum(tf.square(matrices), axis=(-2, -1), keepdims=True))
    x = tf.cast(matrices / tf.maximum(norm, SMALLEST_NORM), dtype)
    tall = rows > columns
    a, b, c = (tf.cast(k, dtype) for k in NEWTON_SCHULZ)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = tf.matmul(x, x, transpose_a=tall, transpose_b=not tall)
        step = b * gram + c * tf.matmul(gram, gram)  # symmetric, so it may stand on either side
        x = a * x + (tf.matmul(x, step) if tall else tf.matmul(step, x))
    return tf.cast(x, matrices.dtype)


def update(optimizer, gradients, variables):
    """One update of a built Keras optimizer, within one replica.

    `apply_gradients` would average the gradients over the replicas first, which cannot be done in a
    branch; here they are averaged already.
    """
    if isinstance(optimizer, Muon):
        optimizer.update_steps(gradients, variables)
    else:
        for gradient, variable in zip(gradients, variables):
            optimizer.update_step(gradient, variable)
    optimizer.iterations.assign_add(1)


def matrix_shape(variable):
    """Returns (rows, columns) = (height x width x in, out) of a 4-D kernel, or None."""
    shape = variable.shape.as_list()
    if len(shape) != 4:
        return None
    return shape[0] * shape[1] * shape[2], shape[3]


class Muon(tf.keras.optimizers.Optimizer):
    """Muon for 4-D kernels of at least 16 rows and columns, Adam for the other variables.

    For a kernel with gradient G, reshaped to (rows, columns) = (height x width x in, out):

        m <- momentum m + G
        kernel <- kernel - learning_rate 0.2 sqrt(max(rows, columns)) orthogonalize(G + momentum m)

    For the rest, Adam with bias correction at `learning_rate * adam_ratio`.

    Args:
        learning_rate: float or schedule, of the Muon kernels.
        adam_ratio: learning rate of the Adam variables divided by `learning_rate`.
        momentum: of Muon (Nesterov).
        beta_1, beta_2, epsilon: of Adam.
        largest_matrix: kernels with min(rows, columns) above this stay with Adam; None for no
            bound. The cost of an orthogonalisation grows with rows x columns x min(rows, columns).
        product_dtype: of the orthogonalisation's matrix products, "float32" or "bfloat16".
        name: of the optimizer.
        **kwargs: of tf.keras.optimizers.Optimizer.
    """

    def __init__(
        self,
        learning_rate=1e-3,
        adam_ratio=0.4,
        momentum=0.95,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        largest_matrix=None,
        product_dtype="float32",
        name="Muon",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.adam_ratio = adam_ratio
        self.momentum = momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.largest_matrix = largest_matrix
        self.product_dtype = product_dtype

    def uses_muon(self, variable):
        """Returns whether the variable is a kernel that Muon takes (the others are Adam's)."""
        matrix = matrix_shape(variable)
        if matrix is None or min(matrix) < SMALLEST_MATRIX:
            return False
        return self.largest_matrix is None or min(matrix) <= self.largest_matrix

    @property
    def moments(self):
        """A list per variable: [momentum] of Muon's kernels, [first, second moment] of Adam's."""
        return self._moments

    def build(self, var_list):
        """Creates the momentum of Muon's kernels and both moments of Adam's variables."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._moments = []  # in the order of var_list: checkpoints are restored by position
        for variable in var_list:
            names = ("momentum",) if self.uses_muon(variable) else ("first", "second")
            self._moments.append([self.add_variable_from_reference(variable, n) for n in names])

    def update_step(self, gradient, variable):
        """Updates one variable from its gradient."""
        self.update_steps([gradient], [variable])

    def update_steps(self, gradients, variables):
        """Updates variables from their gradients, in place of one `update_step` each.

        Kernels of one shape go through their matrix products together: a network has dozens of them
        and few shapes, and an accelerator spends more time on starting a small product than on it.
        """
        adam_rate = self._adam_rate()
        kernels = {}  # matrix shape -> [(kernel, its momentum after this step)]
        for gradient, variable in zip(gradients, variables):
            gradient = tf.convert_to_tensor(gradient)
            moments = self._moments[self._index_dict[self._var_key(variable)]]
            if self.uses_muon(variable):
                ahead = self._momentum_step(gradient, *moments)
                kernels.setdefault(matrix_shape(variable), []).append((variable, ahead))
            else:
                self._adam_step(gradient, variable, adam_rate, *moments)
        for shape, group in kernels.items():
            self._muon_steps(shape, group)

    def _momentum_step(self, gradient, velocity):
        velocity.assign(self.momentum * velocity + gradient)
        return gradient + self.momentum * velocity

    def _muon_steps(self, shape, group):
        ahead = tf.stack([tf.reshape(momentum, shape) for _, momentum in group])
        updates = tf.unstack(orthogonalize(ahead, self.product_dtype))
        for (variable, _), update in zip(group, updates):
            rate = tf.cast(self.learning_rate, variable.dtype) * 0.2 * max(shape) ** 0.5
            variable.assign_sub(tf.reshape(rate * update, variable.shape))

    def _adam_rate(self):
        """Adam's learning rate of this step, with the correction of both moments."""
        count = tf.cast(self.iterations + 1, tf.float32)
        correction = tf.sqrt(1.0 - self.beta_2**count) / (1.0 - self.beta_1**count)
        return tf.cast(self.learning_rate, tf.float32) * self.adam_ratio * correction

    def _adam_step(self, gradient, variable, rate, first, second):
        """One operation, not one per sum and product: most variables of a network are Adam's."""
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=0.0,  # both corrections are in the rate
            beta2_power=0.0,
            lr=tf.cast(rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self):
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.update(
            learning_rate=self._serialize_hyperparameter(self._learning_rate),
            adam_ratio=self.adam_ratio,
            momentum=self.momentum,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            largest_matrix=self.largest_matrix,
            product_dtype=self.product_dtype,
        )
        return config
