"""What a comparison leaves for its reader: a page, a table, points for others' plots, figures for a paper."""
