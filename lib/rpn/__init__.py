"""The region proposal network (RPN): anchors, training targets, proposals."""
