"""The driver of iPhones, by devicectl or pymobiledevice3. Others import `driver` alone."""
