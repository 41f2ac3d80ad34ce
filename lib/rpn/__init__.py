"""The region proposal network: anchors, training targets, proposals."""
