"""The GPUs of this machine: its Vulkan drivers, and SwiftShader, a software GPU, in a folder of its
own. Fetches packages as `harness.arm64` does.
"""
