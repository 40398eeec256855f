"""The driver of Android phones, by the real adb. Others import `driver` alone."""
