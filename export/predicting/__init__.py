"""Files of a bundle on single images: `mobilemod.load`, and what `predict` prints. A file is run as
`validate` runs it. Imports targets and mobilemod.
"""
