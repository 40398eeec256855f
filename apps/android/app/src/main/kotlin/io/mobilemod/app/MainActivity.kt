package io.mobilemod.app

import android.Manifest.permission
import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Bundle
import android.provider.Settings
import android.view.View
import android.widget.CheckBox
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.SeekBar
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.RequestPermission
import androidx.core.content.ContextCompat
import androidx.lifecycle.ViewModelProvider
import io.mobilemod.core.Manifest

/** Live camera, a picture of the gallery or a sample through the chosen model file, or two files beside each other. */
class MainActivity : ComponentActivity() {
    private lateinit var model: MainModel
    private lateinit var camera: Live
    private lateinit var thermal: Thermal
    private var controls: Controls? = null
    private var mayAsk = false

    private val pick =
        registerForActivityResult(PickVisualMedia()) { uri -> if (uri != null) model.show(uri) }
    private val ask =
        registerForActivityResult(RequestPermission()) { granted -> if (granted) startCamera() else noticeDenied() }

    private val status get() = findViewById<TextView>(R.id.status)
    private val map get() = findViewById<MapView>(R.id.map)
    private val compare get() = findViewById<CheckBox>(R.id.compare)

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        model = ViewModelProvider(this)[MainModel::class.java]
        model.prepare(this)
        val failed = { text: String -> notice(getString(R.string.no_camera, text), false) }
        camera = Live(this, findViewById(R.id.preview), model.executor, model::watch, failed)
        camera.front = savedInstanceState?.getBoolean(FRONT) ?: false
        thermal = Thermal(this) { hot -> findViewById<View>(R.id.hot).visibility = if (hot) View.VISIBLE else View.GONE }
        bindButtons()
        val manifest = manifestOrNull() ?: return
        if (manifest.map != null) bindOpacity()
        controls = Controls(this, manifest) { load(manifest) }
        // Before the first load, which a rotation's restored views would come after.
        compare.isChecked = model.comparing
        compare.setOnCheckedChangeListener { _, checked ->
            model.comparing = checked
            load(manifest)
        }
        bindSamples(manifest)
        savedInstanceState?.getString(PICKED)?.let { if (model.picked == null) model.show(Uri.parse(it)) }
        mayAsk = savedInstanceState == null
    }

    override fun onStart() {
        super.onStart()
        model.screen = ::render
        render(model.shown)
        thermal.start()
        val controls = controls ?: return
        // Another screen may have chosen something else, and loaded it.
        controls.restore()
        load(model.store.manifest)
        // The permission may have been given in the settings.
        if (model.picked == null) startOrAsk(mayAsk)
        mayAsk = false
    }

    override fun onStop() {
        thermal.stop()
        model.screen = null
        // Another screen may load a model: no two screens have models loaded. A rotation keeps this one's.
        if (!isChangingConfigurations) model.unload()
        super.onStop()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putBoolean(FRONT, camera.front)
        model.picked?.let { outState.putString(PICKED, it.toString()) }
    }

    private fun load(manifest: Manifest) {
        val choice = controls?.choice ?: return
        val other = manifest.counterpart(choice.file)
        compare.visibility = if (other == null) View.GONE else View.VISIBLE
        model.load(choice, other?.takeIf { model.comparing })
    }

    private fun bindButtons() {
        findViewById<View>(R.id.gallery).setOnClickListener { pick.launch(imagesOnly()) }
        findViewById<View>(R.id.camera).setOnClickListener { backToCamera() }
        findViewById<View>(R.id.flip).setOnClickListener {
            camera.front = !camera.front
            if (model.picked == null) startOrAsk(false) else backToCamera()
        }
        findViewById<View>(R.id.allow).setOnClickListener { askAgain() }
        opens(R.id.open_self_test, SelfTestActivity::class.java)
        opens(R.id.open_benchmark, BenchmarkActivity::class.java)
        opens(R.id.open_accuracy, AccuracyActivity::class.java)
    }

    private fun opens(
        button: Int,
        screen: Class<out Activity>,
    ) = findViewById<View>(button).setOnClickListener { startActivity(Intent(this, screen)) }

    private fun bindSamples(manifest: Manifest) {
        val row = findViewById<LinearLayout>(R.id.samples)
        manifest.golden.forEachIndexed { i, golden ->
            val view = layoutInflater.inflate(R.layout.sample, row, false) as ImageView
            view.clipToOutline = true
            view.contentDescription = getString(R.string.sample, i + 1)
            view.setOnClickListener { model.show(MainModel.sample(golden.image)) }
            row.addView(view)
            model.executor.execute {
                try {
                    val thumbnail = Images.thumbnail(model.store.goldenBytes(golden.image))
                    runOnUiThread { view.setImageBitmap(thumbnail) }
                } catch (error: Exception) {
                    runOnUiThread { say(getString(R.string.image_failed, error.message)) }
                }
            }
        }
    }

    private fun bindOpacity() {
        // Labelled folders have a class for a picture, not for each pixel.
        findViewById<View>(R.id.open_accuracy).visibility = View.GONE
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
            model.store.manifest.also { require(it.runnable(Engines.TARGETS).isNotEmpty()) { "it has no .tflite and no .pte file" } }
        } catch (error: Exception) {
            say(getString(R.string.no_bundle, error.message))
            null
        }

    private fun render(shown: Shown) {
        if (controls == null) return
        say(shown.message)
        val withPicture = model.picked != null
        findViewById<ImageView>(R.id.picked).run {
            setImageBitmap(shown.picture)
            visibility = if (withPicture) View.VISIBLE else View.GONE
        }
        findViewById<View>(R.id.preview).visibility = if (withPicture) View.GONE else View.VISIBLE
        findViewById<View>(R.id.camera).visibility = if (withPicture) View.VISIBLE else View.GONE
        if (withPicture) {
            camera.stop()
            findViewById<View>(R.id.notice).visibility = View.GONE
        }
        val segmented =
            shown.answers
                .firstOrNull()
                ?.found
                ?.segmented
        if (segmented == null) map.clear() else map.show(segmented, shown.mirrored)
        column(R.id.results, R.id.about, R.id.first, shown.answers.getOrNull(0), alone = shown.answers.size < 2)
        column(R.id.results_beside, R.id.about_beside, R.id.second, shown.answers.getOrNull(1), alone = false)
        findViewById<TextView>(R.id.latency).text = latency(shown)
    }

    private fun column(
        results: Int,
        about: Int,
        column: Int,
        answer: Answer?,
        alone: Boolean,
    ) {
        findViewById<View>(column).visibility = if (answer == null && !alone) View.GONE else View.VISIBLE
        findViewById<ResultsView>(results).show(answer?.found?.top ?: emptyList(), answer?.found?.segmented != null)
        findViewById<TextView>(about).run {
            visibility = if (alone || answer == null) View.GONE else View.VISIBLE
            text = answer?.let { getString(R.string.about, it.file.precision, it.file.bytes / BYTES_PER_MB, it.latency?.p50 ?: 0.0) }
        }
    }

    private fun latency(shown: Shown): String {
        val first = shown.answers.firstOrNull()
        val latency = first?.latency ?: return getString(R.string.no_latency)
        val compared = shown.compared
        val text =
            if (compared == null) {
                getString(R.string.latency, latency.p50, latency.p90, latency.count, first.found.preprocessMs)
            } else {
                getString(R.string.alike, compared.alikePercent, compared.pictures)
            }
        return text + (shown.framesPerSecond?.let { getString(R.string.frames, it) } ?: "")
    }

    private fun backToCamera() {
        model.leavePicture()
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
        if (model.picked == null) camera.start()
    }

    /** After a second refusal Android asks no more: then only its settings help. */
    private fun askAgain() {
        if (shouldShowRequestPermissionRationale(permission.CAMERA)) return ask.launch(permission.CAMERA)
        startActivity(Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, Uri.fromParts("package", packageName, null)))
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
        const val FRONT = "front"
        const val OPACITY_MAX = 100f
        const val BYTES_PER_MB = 1e6

        fun imagesOnly(): PickVisualMediaRequest = PickVisualMediaRequest.Builder().setMediaType(PickVisualMedia.ImageOnly).build()
    }
}
