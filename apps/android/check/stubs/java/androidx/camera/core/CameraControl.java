// androidx/androidx, camera/camera-core/api/1.7.0-rc01.txt at d443a782c57ebd2d5dbb7bf5cb4501a91ba28eee.
package androidx.camera.core;

import com.google.common.util.concurrent.ListenableFuture;

public interface CameraControl {
    ListenableFuture<FocusMeteringResult> startFocusAndMetering(FocusMeteringAction action);
}
