package io.mobilemod.app

import android.os.Bundle
import android.view.View
import android.widget.LinearLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import io.mobilemod.core.Fault
import io.mobilemod.core.GoldenResult
import io.mobilemod.core.ModelFile
import io.mobilemod.core.SelfTest
import java.util.concurrent.Executors

/** The golden self-test of every file that this app can run. */
class SelfTestActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val store = ModelStore(this)

    @Volatile
    private var stopped = false

    private val button get() = findViewById<View>(R.id.run)
    private val outcomes get() = findViewById<LinearLayout>(R.id.outcomes)

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_self_test)
        button.setOnClickListener { start() }
    }

    override fun onDestroy() {
        stopped = true
        worker.shutdown()
        super.onDestroy()
    }

    private fun start() {
        button.isEnabled = false
        outcomes.removeAllViews()
        worker.execute {
            try {
                store.manifest.runnable(Engines.TARGETS).forEach { if (!stopped) test(it) }
            } catch (error: Exception) {
                show(getString(R.string.no_bundle, error.message), false)
            }
            runOnUiThread { button.isEnabled = true }
        }
    }

    private fun test(file: ModelFile) {
        val manifest = store.manifest
        show(file.file, null)
        manifest.versionWarning(file.target, Engines.version(file.target))?.let { show(it, false) }
        try {
            store.open(Choice(file, 1, Engines.delegates(file.target).first())).use { engine ->
                val test = SelfTest(manifest, file.file)
                for (golden in manifest.golden) {
                    if (stopped) return
                    val result = test.check(golden, store.golden(golden.image), engine.layout, engine::run)
                    show(describe(result), result.fault == Fault.NONE)
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

    /** A line; green for passed, red for failed, plain as a heading. */
    private fun show(
        text: String,
        passed: Boolean?,
    ) = runOnUiThread {
        val view = TextView(this, null, 0, if (passed == null) R.style.Title else R.style.Message)
        view.text = text
        if (passed != null) view.setTextColor(getColor(if (passed) R.color.pass else R.color.fail))
        outcomes.addView(view)
    }
}
