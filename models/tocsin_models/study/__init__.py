"""The study, redone: data sets, ResNet-50, six ways to make it small, and the table that compares them."""
