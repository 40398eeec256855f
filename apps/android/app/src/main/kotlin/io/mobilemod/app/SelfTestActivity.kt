package io.mobilemod.app

import android.graphics.Bitmap
import android.os.Bundle
import android.view.View
import android.widget.LinearLayout
import androidx.activity.ComponentActivity
import io.mobilemod.core.Fault
import io.mobilemod.core.GoldenResult
import io.mobilemod.core.Json
import io.mobilemod.core.ModelFile
import io.mobilemod.core.SelfTest
import java.io.File
import java.util.concurrent.Executors

/** The golden self-test of every file that this app can run. */
class SelfTestActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val store = ModelStore(this)

    @Volatile
    private var stopped = false

    private val button get() = findViewById<View>(R.id.run)
    private val share get() = findViewById<View>(R.id.share)
    private val record get() = File(cacheDir, "records/self-test.json")

    // Of the worker.
    private val results = ArrayList<Map<String, Any?>>()
    private val outcomes get() = findViewById<LinearLayout>(R.id.outcomes)

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_self_test)
        bindHeader(R.string.self_test)
        button.setOnClickListener { start() }
        share.setOnClickListener { share(record) }
    }

    override fun onDestroy() {
        stopped = true
        worker.shutdown()
        super.onDestroy()
    }

    private fun start() {
        button.isEnabled = false
        share.isEnabled = false
        outcomes.removeAllViews()
        worker.execute {
            results.clear()
            try {
                store.manifest.runnable(Engines.TARGETS).forEach { if (!stopped) test(it) }
                keep()
            } catch (error: Exception) {
                show(getString(R.string.no_bundle, error.message), false)
            }
            runOnUiThread {
                button.isEnabled = true
                share.isEnabled = record.isFile
            }
        }
    }

    private fun test(file: ModelFile) {
        val manifest = store.manifest
        runOnUiThread { addHeading(outcomes, file.file) }
        manifest.versionWarning(file.target, Engines.version(file.target))?.let { show(it, false) }
        try {
            store.open(this, Choice(file, 1, Engines.delegates(file.target).first())).use { engine ->
                val test = SelfTest(manifest, file.file)
                for (golden in manifest.golden) {
                    if (stopped) return
                    val result = test.check(golden, store.golden(golden.image), engine.layout, engine::run)
                    results.add(member(file, engine.runtime, result))
                    val thumbnail = Images.thumbnail(store.goldenBytes(golden.image))
                    show(describe(result), result.fault == Fault.NONE, thumbnail)
                }
            }
        } catch (error: Exception) {
            show(getString(R.string.model_failed, file.file, error.message), false)
        }
    }

    private fun describe(result: GoldenResult): String =
        when (result.fault) {
            Fault.NONE -> {
                getString(if (ofMaps) R.string.passed_map else R.string.passed, result.image, result.difference, result.tolerance)
            }

            Fault.COLOR_ORDER -> {
                getString(R.string.failed_color, result.image)
            }

            Fault.NOT_NORMALIZED -> {
                getString(R.string.failed_normalized, result.image)
            }

            Fault.NOT_SCALED -> {
                getString(R.string.failed_scaled, result.image)
            }

            Fault.TRANSPOSED -> {
                getString(R.string.failed_transposed, result.image)
            }

            Fault.RUNTIME -> {
                val text = if (ofMaps) R.string.failed_runtime_map else R.string.failed_runtime
                getString(text, result.image, result.difference, result.tolerance)
            }
        }

    private val ofMaps get() = store.manifest.map != null

    private fun member(
        file: ModelFile,
        runtime: String,
        result: GoldenResult,
    ) = mapOf(
        "file" to file.file,
        "sha256" to file.sha256,
        "runtime" to runtime,
        "image" to result.image,
        "fault" to result.fault.name.lowercase(),
        "difference" to result.difference,
        "tolerance" to result.tolerance,
    )

    private fun keep() {
        val phone = Phone(this)
        val head = mapOf("schema" to SCHEMA, "model" to store.manifest.model, "wall" to phone.wall())
        record.parentFile?.mkdirs()
        record.writeText(Json.write(head + phone.facts() + ("results" to results)))
    }

    /** A line, green for passed, red for failed. */
    private fun show(
        text: String,
        passed: Boolean,
        picture: Bitmap? = null,
    ) = runOnUiThread { addRow(outcomes, text, if (passed) R.color.pass else R.color.fail, picture) }

    private companion object {
        const val SCHEMA = "mobilemod/app-self-test/1"
    }
}
