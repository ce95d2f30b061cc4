"""The trainable entropy models of y (context and mixture) and z (factorised)."""

from gllmm_tf.entropy.factorized import FactorizedBottleneck
from gllmm_tf.entropy.parameters import EntropyParameters

__all__ = ["EntropyParameters", "FactorizedBottleneck"]
