"""The HTML page: template, style, scripts and the data embedded in it."""
