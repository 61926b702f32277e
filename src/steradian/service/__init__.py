"""A recognizer and a gallery behind a door: HTTP, a page, a chat bot."""
