// androidx/androidx, camera/camera-core/api/1.5.0-beta01.txt at a9b06aaf32dbcf83aa12e3f8185a109d14fbe8e9.
package androidx.camera.core;

import java.nio.ByteBuffer;

public interface ImageProxy extends AutoCloseable {
    @Override
    void close();

    int getWidth();

    int getHeight();

    ImageInfo getImageInfo();

    PlaneProxy[] getPlanes();

    interface PlaneProxy {
        int getRowStride();

        int getPixelStride();

        ByteBuffer getBuffer();
    }
}
