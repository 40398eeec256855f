package org.pytorch.executorch;

public class ExecuTorchRuntime {
    public static native String[] getRegisteredBackends();
}
