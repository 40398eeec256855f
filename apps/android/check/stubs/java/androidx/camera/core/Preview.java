// androidx/androidx, camera/camera-core/api/1.5.0-beta01.txt at a9b06aaf32dbcf83aa12e3f8185a109d14fbe8e9.
package androidx.camera.core;

public final class Preview extends UseCase {
    public native void setSurfaceProvider(SurfaceProvider provider);

    public interface SurfaceProvider {
        void onSurfaceRequested(SurfaceRequest request);
    }

    public static final class Builder {
        public native Preview build();
    }
}
