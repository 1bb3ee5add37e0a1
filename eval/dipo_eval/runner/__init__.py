"""One evaluation, from items to stored results."""
