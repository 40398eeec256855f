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
