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
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.RequestPermission
import androidx.core.content.ContextCompat
import io.mobilemod.core.Classification
import io.mobilemod.core.Classifier
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.Manifest
import io.mobilemod.core.Summary
import java.io.IOException
import java.util.concurrent.Executors

/** Live camera or an image from the gallery through the chosen model file. */
class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private lateinit var store: ModelStore
    private lateinit var live: Live
    private var picked: Uri? = null

    // Touched by the worker alone.
    private var classifier: Classifier? = null

    private val pick =
        registerForActivityResult(PickVisualMedia()) { uri -> if (uri != null) show(uri) }
    private val ask =
        registerForActivityResult(RequestPermission()) { granted -> if (granted) startCamera() else noticeDenied() }

    private val status get() = findViewById<TextView>(R.id.status)
    private val gallery get() = findViewById<Button>(R.id.gallery)

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        store = ModelStore(this)
        live = Live(this, findViewById(R.id.preview), worker, ::classify) { notice(getString(R.string.no_camera, it), false) }
        bindButtons()
        val manifest = manifestOrNull() ?: return
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
        worker.execute {
            classifier?.close()
            classifier = null
            val problem =
                try {
                    classifier = Classifier(manifest, store.open(choice))
                    manifest.versionWarning(choice.file.target, Engines.version(choice.file.target))
                } catch (error: Exception) {
                    getString(R.string.model_failed, choice.file.file, error.message)
                }
            runOnUiThread {
                say(problem)
                picked?.let(::show)
            }
        }
    }

    // On the worker.
    private fun classify(image: DecodedImage) {
        val current = classifier ?: return
        try {
            val found = current.classify(image)
            val latency = current.latency()
            runOnUiThread { show(found, latency) }
        } catch (error: Exception) {
            runOnUiThread { say(error.message) }
        }
    }

    private fun show(
        found: Classification,
        latency: Summary?,
    ) {
        findViewById<ResultsView>(R.id.results).show(found.top)
        if (latency == null) return
        findViewById<TextView>(R.id.latency).text =
            getString(R.string.latency, latency.p50, latency.p90, latency.count, found.preprocessMs)
    }

    private fun show(uri: Uri) {
        picked = uri
        live.stop()
        findViewById<View>(R.id.notice).visibility = View.GONE
        gallery.setText(R.string.camera)
        worker.execute {
            try {
                val bytes = contentResolver.openInputStream(uri)?.use { it.readBytes() } ?: throw IOException("it can't be opened")
                // Twice the network's longer side keeps the antialiased resize meaningful and the memory small.
                val image = Images.decode(bytes, 2 * store.manifest.preprocess.run { maxOf(height, width) })
                val preview = Images.preview(bytes)
                runOnUiThread { show(preview) }
                classify(image)
            } catch (error: Exception) {
                runOnUiThread { say(getString(R.string.image_failed, error.message)) }
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
        if (picked == null) live.start()
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

        fun imagesOnly(): PickVisualMediaRequest = PickVisualMediaRequest.Builder().setMediaType(PickVisualMedia.ImageOnly).build()
    }
}
