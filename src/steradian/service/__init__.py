"""Serve a recognizer and a gallery over HTTP, by a web page or by a chat bot."""
