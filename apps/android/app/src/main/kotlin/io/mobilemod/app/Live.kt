package io.mobilemod.app

import android.view.MotionEvent
import androidx.activity.ComponentActivity
import androidx.camera.core.Camera
import androidx.camera.core.CameraSelector
import androidx.camera.core.FocusMeteringAction
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.decodedFromRgba
import java.util.concurrent.Executor

/**
 * The camera: a preview on the screen, and the newest frame to [analyze] whenever it is idle, with whether
 * the preview is mirrored, as the front camera's is. A tap on the preview focuses there.
 */
class Live(
    private val activity: ComponentActivity,
    private val view: PreviewView,
    private val worker: Executor,
    private val analyze: (DecodedImage, Boolean) -> Unit,
    private val failed: (String) -> Unit,
) {
    private var provider: ProcessCameraProvider? = null
    private var camera: Camera? = null
    private var wanted = false

    /** Whether the front camera is wanted; takes effect at the next [start]. */
    var front = false

    init {
        view.setScaleType(PreviewView.ScaleType.FIT_CENTER)
        view.setOnTouchListener { _, event -> focus(event) }
    }

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
        camera = null
        provider?.unbindAll()
    }

    private fun bind(provider: ProcessCameraProvider) {
        val cameras = listOf(CameraSelector.DEFAULT_BACK_CAMERA, CameraSelector.DEFAULT_FRONT_CAMERA)
        val selector =
            (if (front) cameras.reversed() else cameras).firstOrNull { provider.hasCamera(it) }
                ?: throw IllegalStateException("there is none")
        val mirrored = selector === CameraSelector.DEFAULT_FRONT_CAMERA
        val preview = Preview.Builder().build()
        preview.setSurfaceProvider(view.surfaceProvider)
        val analysis =
            ImageAnalysis
                .Builder()
                .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
                .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
                .build()
        analysis.setAnalyzer(worker) { frame -> analyze(frame.use(::decoded), mirrored) }
        provider.unbindAll()
        camera = provider.bindToLifecycle(activity, selector, preview, analysis)
    }

    private fun focus(event: MotionEvent): Boolean {
        if (event.actionMasked == MotionEvent.ACTION_UP) {
            view.performClick()
            val point = view.meteringPointFactory.createPoint(event.x, event.y)
            camera?.cameraControl?.startFocusAndMetering(FocusMeteringAction.Builder(point).build())
        }
        return true
    }

    private fun decoded(frame: ImageProxy): DecodedImage {
        val plane = frame.planes[0]
        return decodedFromRgba(plane.buffer, frame.width, frame.height, plane.rowStride, frame.imageInfo.rotationDegrees)
    }
}
