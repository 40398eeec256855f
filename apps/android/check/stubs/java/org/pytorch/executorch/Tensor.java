package org.pytorch.executorch;

public abstract class Tensor {
    public static native Tensor fromBlob(float[] data, long[] shape);

    public native float[] getDataAsFloatArray();
}
