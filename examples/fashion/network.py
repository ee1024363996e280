"""A MobileNetV1-style CNN for 28 x 28 pictures, with residuals where shapes allow."""

from torch import Tensor, nn

from examples.fashion.data import NAMES


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; padded so that only the stride shrinks the image."""
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Separable(nn.Module):
    """Filter each channel over the picture, then mix the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Add the input to the output where both have one shape."""
        super().__init__()
        self.depthwise = conv(inputs, inputs, kernel=3, stride=stride, groups=inputs)
        self.pointwise = conv(inputs, outputs, kernel=1)
        self.residual = inputs == outputs and stride == 1

    def forward(self, features: Tensor) -> Tensor:
        """Compute the block's features."""
        mixed: Tensor = self.pointwise(self.depthwise(features))
        return mixed + features if self.residual else mixed


def build() -> nn.Sequential:
    """Build the untrained network: [N, 1, 28, 28] in, [N, 10] logits out."""
    return nn.Sequential(
        conv(1, 16, kernel=3),
        Separable(16, 32, stride=2),
        Separable(32, 64, stride=1),
        Separable(64, 128, stride=2),
        Separable(128, 128, stride=1),
        Separable(128, 256, stride=2),
        Separable(256, 256, stride=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, len(NAMES)),
    )
