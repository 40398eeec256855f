package org.pytorch.executorch;

public class Module {
    public static final int LOAD_MODE_MMAP = 1;

    public static native Module load(String path, int loadMode, int threads);

    public native EValue[] forward(EValue... inputs);

    public native void loadMethod(String name);

    public native MethodMetadata getMethodMetadata(String name);

    public native void destroy();
}
