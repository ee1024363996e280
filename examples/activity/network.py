"""A 1-D depthwise-separable CNN over six motion axes."""

from torch import nn

CLASSES = 7


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; padded so that only the stride shrinks the signal."""
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Filter each channel along time, then mix the channels."""
    return nn.Sequential(
        conv(inputs, inputs, kernel=5, stride=stride, groups=inputs),
        conv(inputs, outputs, kernel=1),
    )


def build() -> nn.Sequential:
    """Build the untrained network: [N, 6, 128] in, [N, 7] logits out."""
    return nn.Sequential(
        conv(6, 32, kernel=5, stride=2),
        separable(32, 48, stride=1),
        separable(48, 64, stride=2),
        separable(64, 96, stride=1),
        separable(96, 112, stride=2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(112, CLASSES),
    )
