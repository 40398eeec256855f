"""What a bundle knows as Markdown: a pull request's summary, and a model card."""
