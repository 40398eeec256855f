"""Networks that users bring: a function of theirs that gives a module, a folder of Hugging Face's.
Each is opened as an `Opened`; nothing is downloaded, no code of a checkpoint or a folder is run.
Imports networks' reading of checkpoints, data for labels and preprocessing, and tasks' facts.
"""
