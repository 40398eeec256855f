"""A device-side adb daemon for tests: Google's adb client connects to it over TCP.

`python -m tests.adbd --folder DIR` starts an emulated Android device whose shell is real and sees
nothing of this machine but its programs (root.py); see docs/harness-adb.md.
"""
