package io.mobilemod.app

import androidx.activity.ComponentActivity
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.decodedFromRgba
import java.util.concurrent.Executor

/** The camera: a preview on the screen, and the newest frame to [analyze] whenever it is idle. */
class Live(
    private val activity: ComponentActivity,
    private val view: PreviewView,
    private val worker: Executor,
    private val analyze: (DecodedImage) -> Unit,
    private val failed: (String) -> Unit,
) {
    private var provider: ProcessCameraProvider? = null
    private var wanted = false

    /** Whether the picture is shown as in a mirror, as the front camera's is. */
    @Volatile
    var mirrored = false
        private set

    /** Starts, as long as the activity is visible. */
    fun start() {
        wanted = true
        val future = ProcessCameraProvider.getInstance(activity)
        val ready =
            Runnable {
                try {
                    provider = future.get()
                    if (wanted) bind(future.get())
                } catch (error: Exception) {
                    // Each vendor's camera fails in its own way; all of them end here.
                    failed(error.message ?: error.javaClass.simpleName)
                }
            }
        future.addListener(ready, ContextCompat.getMainExecutor(activity))
    }

    /** Stops; `start` may follow. */
    fun stop() {
        wanted = false
        provider?.unbindAll()
    }

    private fun bind(provider: ProcessCameraProvider) {
        val selector =
            listOf(CameraSelector.DEFAULT_BACK_CAMERA, CameraSelector.DEFAULT_FRONT_CAMERA).firstOrNull { provider.hasCamera(it) }
                ?: throw IllegalStateException("there is none")
        mirrored = selector === CameraSelector.DEFAULT_FRONT_CAMERA
        view.setScaleType(PreviewView.ScaleType.FIT_CENTER)
        val preview = Preview.Builder().build()
        preview.setSurfaceProvider(view.surfaceProvider)
        val analysis =
            ImageAnalysis
                .Builder()
                .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
                .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
                .build()
        analysis.setAnalyzer(worker) { frame -> analyze(frame.use(::decoded)) }
        provider.unbindAll()
        provider.bindToLifecycle(activity, selector, preview, analysis)
    }

    private fun decoded(frame: ImageProxy): DecodedImage {
        val plane = frame.planes[0]
        return decodedFromRgba(plane.buffer, frame.width, frame.height, plane.rowStride, frame.imageInfo.rotationDegrees)
    }
}
