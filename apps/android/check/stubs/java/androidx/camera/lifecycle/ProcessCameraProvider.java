package androidx.camera.lifecycle;

import android.content.Context;
import androidx.camera.core.Camera;
import androidx.camera.core.CameraInfoUnavailableException;
import androidx.camera.core.CameraSelector;
import androidx.camera.core.UseCase;
import androidx.lifecycle.LifecycleOwner;
import com.google.common.util.concurrent.ListenableFuture;

public final class ProcessCameraProvider {
    public static native ListenableFuture<ProcessCameraProvider> getInstance(Context context);

    public native boolean hasCamera(CameraSelector selector) throws CameraInfoUnavailableException;

    public native Camera bindToLifecycle(LifecycleOwner owner, CameraSelector selector, UseCase... useCases);

    public native void unbindAll();
}
