"""The typed door to `noiseprotocol`: Noise_IKpsk2 (Noise specification 34, 7.5)."""

import noise  # noqa: F401
