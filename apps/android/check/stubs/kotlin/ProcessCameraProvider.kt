// androidx/androidx, camera/camera-lifecycle/api/1.7.0-rc01.txt at c1a5d115194986fd15364f51f8ee8261cfbeb20e.
@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.camera.lifecycle

import android.content.Context
import androidx.camera.core.Camera
import androidx.camera.core.CameraInfoUnavailableException
import androidx.camera.core.CameraSelector
import androidx.camera.core.UseCase
import androidx.lifecycle.LifecycleOwner
import com.google.common.util.concurrent.ListenableFuture

class ProcessCameraProvider private constructor() {
    external fun bindToLifecycle(
        lifecycleOwner: LifecycleOwner,
        cameraSelector: CameraSelector,
        vararg useCases: UseCase?,
    ): Camera

    @Throws(CameraInfoUnavailableException::class)
    external fun hasCamera(cameraSelector: CameraSelector): Boolean

    external fun unbind(vararg useCases: UseCase?)

    external fun unbindAll()

    companion object {
        @JvmStatic
        external fun getInstance(context: Context): ListenableFuture<ProcessCameraProvider>
    }
}
