"""What a Network answers about images and about itself: classes, layers, predictions, features, drawings."""
