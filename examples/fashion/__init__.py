"""Fashion-MNIST clothing pictures: a small residual CNN."""
