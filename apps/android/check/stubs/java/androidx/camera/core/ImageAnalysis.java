// androidx/androidx, camera/camera-core/api/1.7.0-rc01.txt at d443a782c57ebd2d5dbb7bf5cb4501a91ba28eee.
package androidx.camera.core;

import java.util.concurrent.Executor;

public final class ImageAnalysis extends UseCase {
    public static final int OUTPUT_IMAGE_FORMAT_RGBA_8888 = 2;
    public static final int STRATEGY_KEEP_ONLY_LATEST = 0;

    public native void setAnalyzer(Executor executor, Analyzer analyzer);

    public native void clearAnalyzer();

    public interface Analyzer {
        void analyze(ImageProxy image);
    }

    public static final class Builder {
        public native Builder setBackpressureStrategy(int strategy);

        public native Builder setOutputImageFormat(int format);

        public native ImageAnalysis build();
    }
}
