package io.mobilemod.app

import android.Manifest.permission
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.net.Uri
import android.os.Bundle
import android.provider.Settings
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.SeekBar
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.RequestPermission
import androidx.core.content.ContextCompat
import io.mobilemod.core.Classification
import io.mobilemod.core.Classifier
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.FrameRate
import io.mobilemod.core.Manifest
import io.mobilemod.core.Summary
import java.io.IOException
import java.util.concurrent.Executors

/** Live camera or an image from the gallery through the chosen model file. */
class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private lateinit var store: ModelStore
    private lateinit var camera: Live

    @Volatile
    private var picked: Uri? = null

    // Counts pictures and models: an answer to what is gone isn't shown.
    @Volatile
    private var turn = 0

    // Touched by the worker alone.
    private val rate = FrameRate()
    private var classifier: Classifier? = null

    private val pick =
        registerForActivityResult(PickVisualMedia()) { uri -> if (uri != null) show(uri) }
    private val ask =
        registerForActivityResult(RequestPermission()) { granted -> if (granted) startCamera() else noticeDenied() }

    private val status get() = findViewById<TextView>(R.id.status)
    private val gallery get() = findViewById<Button>(R.id.gallery)
    private val results get() = findViewById<ResultsView>(R.id.results)
    private val map get() = findViewById<MapView>(R.id.map)

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        store = ModelStore(this)
        camera = Live(this, findViewById(R.id.preview), worker, ::watch) { notice(getString(R.string.no_camera, it), false) }
        bindButtons()
        val manifest = manifestOrNull() ?: return
        if (manifest.map != null) bindOpacity()
        load(manifest, Controls(this, manifest) { load(manifest, it) }.choice)
        val uri = savedInstanceState?.getString(PICKED)
        if (uri != null) show(Uri.parse(uri)) else startOrAsk(savedInstanceState == null)
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        picked?.let { outState.putString(PICKED, it.toString()) }
    }

    override fun onDestroy() {
        worker.execute { classifier?.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun bindButtons() {
        gallery.setOnClickListener { if (picked == null) pick.launch(imagesOnly()) else backToCamera() }
        findViewById<View>(R.id.allow).setOnClickListener { askAgain() }
        findViewById<View>(R.id.open_self_test).setOnClickListener { startActivity(Intent(this, SelfTestActivity::class.java)) }
        findViewById<View>(R.id.open_benchmark).setOnClickListener { startActivity(Intent(this, BenchmarkActivity::class.java)) }
    }

    private fun bindOpacity() {
        findViewById<View>(R.id.opacity_row).visibility = View.VISIBLE
        val bar = findViewById<SeekBar>(R.id.opacity)
        map.alpha = bar.progress / OPACITY_MAX
        bar.setOnSeekBarChangeListener(
            object : SeekBar.OnSeekBarChangeListener {
                override fun onProgressChanged(
                    bar: SeekBar,
                    progress: Int,
                    fromUser: Boolean,
                ) {
                    map.alpha = progress / OPACITY_MAX
                }

                override fun onStartTrackingTouch(bar: SeekBar) = Unit

                override fun onStopTrackingTouch(bar: SeekBar) = Unit
            },
        )
    }

    private fun manifestOrNull(): Manifest? =
        try {
            store.manifest.also { require(it.runnable(Engines.TARGETS).isNotEmpty()) { "it has no .tflite and no .pte file" } }
        } catch (error: Exception) {
            say(getString(R.string.no_bundle, error.message))
            null
        }

    private fun load(
        manifest: Manifest,
        choice: Choice,
    ) {
        say(getString(R.string.loading, choice.file.file))
        change()
        worker.execute {
            classifier?.close()
            classifier = null
            val problem =
                try {
                    classifier = Classifier(manifest, choice.file, store.open(choice))
                    manifest.versionWarning(choice.file.target, Engines.version(choice.file.target))
                } catch (error: Exception) {
                    getString(R.string.model_failed, choice.file.file, error.message)
                }
            runOnUiThread {
                say(problem)
                change()
                picked?.let(::show)
            }
        }
    }

    /** Another picture or model: what was said of the one before goes with it. On the main thread. */
    private fun change(): Int {
        map.clear()
        results.show(emptyList(), false)
        return ++turn
    }

    // On the worker.
    private fun watch(frame: DecodedImage) {
        val asked = turn
        // A frame may have waited while an image was picked.
        if (picked != null) return
        rate.add(System.nanoTime())
        classify(frame, asked, live = true)
    }

    // On the worker. A photo's map has smooth borders; there is no time for that between frames.
    private fun classify(
        image: DecodedImage,
        asked: Int,
        live: Boolean,
    ) {
        val current = classifier ?: return
        try {
            val found = current.classify(image, smooth = !live)
            val latency = current.latency()
            val framesPerSecond = rate.perSecond()
            val mirrored = live && camera.mirrored
            runOnUiThread {
                if (asked == turn) {
                    show(found, latency, framesPerSecond)
                    found.segmented?.let { map.show(it, mirrored) }
                }
            }
        } catch (error: Exception) {
            runOnUiThread { if (asked == turn) say(error.message) }
        }
    }

    private fun show(
        found: Classification,
        latency: Summary?,
        framesPerSecond: Double?,
    ) {
        results.show(found.top, found.segmented != null)
        if (latency == null) return
        val text = getString(R.string.latency, latency.p50, latency.p90, latency.count, found.preprocessMs)
        val rate = framesPerSecond?.let { getString(R.string.frames, it) } ?: ""
        findViewById<TextView>(R.id.latency).text = text + rate
    }

    private fun show(uri: Uri) {
        picked = uri
        camera.stop()
        val asked = change()
        findViewById<ImageView>(R.id.picked).setImageBitmap(null)
        findViewById<View>(R.id.notice).visibility = View.GONE
        gallery.setText(R.string.camera)
        worker.execute {
            try {
                val bytes = contentResolver.openInputStream(uri)?.use { it.readBytes() } ?: throw IOException("it can't be opened")
                // Twice the network's longer side keeps the antialiased resize meaningful and the memory small.
                val image = Images.decode(bytes, 2 * store.manifest.preprocess.run { maxOf(height, width) })
                val preview = Images.preview(bytes)
                runOnUiThread { if (asked == turn) show(preview) }
                rate.clear()
                classify(image, asked, live = false)
            } catch (error: Exception) {
                runOnUiThread { if (asked == turn) say(getString(R.string.image_failed, error.message)) }
            }
        }
    }

    private fun show(bitmap: Bitmap) {
        if (picked == null) return
        findViewById<View>(R.id.preview).visibility = View.GONE
        val view = findViewById<ImageView>(R.id.picked)
        view.setImageBitmap(bitmap)
        view.visibility = View.VISIBLE
    }

    private fun backToCamera() {
        picked = null
        change()
        gallery.setText(R.string.gallery)
        findViewById<View>(R.id.picked).visibility = View.GONE
        findViewById<View>(R.id.preview).visibility = View.VISIBLE
        startOrAsk(true)
    }

    private fun startOrAsk(mayAsk: Boolean) {
        when {
            ContextCompat.checkSelfPermission(this, permission.CAMERA) == PackageManager.PERMISSION_GRANTED -> startCamera()
            mayAsk -> ask.launch(permission.CAMERA)
            else -> noticeDenied()
        }
    }

    private fun startCamera() {
        findViewById<View>(R.id.notice).visibility = View.GONE
        if (picked == null) camera.start()
    }

    /** After a second refusal Android asks no more: then only its settings help. */
    private fun askAgain() {
        if (shouldShowRequestPermissionRationale(permission.CAMERA)) return ask.launch(permission.CAMERA)
        startActivity(Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, Uri.fromParts("package", packageName, null)))
    }

    override fun onRestart() {
        super.onRestart()
        // The permission may have been given in the settings.
        if (picked == null) startOrAsk(false)
    }

    private fun noticeDenied() = notice(getString(R.string.camera_denied), true)

    private fun notice(
        text: String,
        withButton: Boolean,
    ) {
        findViewById<TextView>(R.id.notice_text).text = text
        findViewById<View>(R.id.allow).visibility = if (withButton) View.VISIBLE else View.GONE
        findViewById<View>(R.id.notice).visibility = View.VISIBLE
    }

    private fun say(text: String?) {
        status.text = text
        status.visibility = if (text == null) View.GONE else View.VISIBLE
    }

    private companion object {
        const val PICKED = "picked"
        const val OPACITY_MAX = 100f

        fun imagesOnly(): PickVisualMediaRequest = PickVisualMediaRequest.Builder().setMediaType(PickVisualMedia.ImageOnly).build()
    }
}
