package io.mobilemod.app

import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.ProgressBar
import android.widget.Spinner
import android.widget.TextView
import androidx.activity.ComponentActivity
import io.mobilemod.core.Benchmark
import io.mobilemod.core.BenchmarkPlan
import io.mobilemod.core.JsonObject
import java.io.File
import java.util.concurrent.Executors

/** A sustained run of one file, and its record to share. */
class BenchmarkActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val store = ModelStore(this)
    private var controls: Controls? = null

    @Volatile
    private var running = false

    private val button get() = findViewById<Button>(R.id.run)
    private val chart get() = findViewById<ChartView>(R.id.chart)
    private val share get() = findViewById<Button>(R.id.share)
    private val status get() = findViewById<TextView>(R.id.status)
    private val progress get() = findViewById<ProgressBar>(R.id.progress)
    private val record get() = File(cacheDir, "records/benchmark.json")

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_benchmark)
        bindHeader(R.string.benchmark)
        fill(findViewById(R.id.minutes), MINUTES.map { it.toString() }, 0)
        button.setOnClickListener { if (running) running = false else start() }
        share.setOnClickListener { share(record) }
        try {
            controls = Controls(this, store.manifest) {}
        } catch (error: Exception) {
            status.text = getString(R.string.no_bundle, error.message)
            button.isEnabled = false
        }
    }

    override fun onDestroy() {
        running = false
        worker.shutdown()
        super.onDestroy()
    }

    private fun start() {
        val choice = controls?.choice ?: return
        val minutes = MINUTES[findViewById<Spinner>(R.id.minutes).selectedItemPosition]
        showRunning(true)
        worker.execute {
            val text =
                try {
                    measure(choice, minutes)
                } catch (error: Exception) {
                    getString(R.string.model_failed, choice.file.file, error.message)
                }
            runOnUiThread {
                showRunning(false)
                status.text = text
                share.isEnabled = record.isFile
            }
        }
    }

    // On the worker.
    private fun measure(
        choice: Choice,
        minutes: Int,
    ): String {
        val phone = Phone(this)
        val plan = BenchmarkPlan(choice.file, choice.threads, choice.delegate, 60.0 * minutes)
        val benchmark = Benchmark(store.manifest, plan, phone)
        record.delete()
        store.open(this, choice).use { engine ->
            benchmark.run(engine, { done, state -> show(done, state["thermal"] as String?, benchmark) }, { !running })
        }
        val series = benchmark.series()
        runOnUiThread { chart.show(series) }
        record.parentFile?.mkdirs()
        record.writeText(benchmark.record())
        return describe(JsonObject.parse(record.readText(), record.name))
    }

    private fun show(
        done: Double,
        thermal: String?,
        benchmark: Benchmark,
    ) {
        val summary = benchmark.summary() ?: return
        val percent = (100 * done).toInt()
        val text = getString(R.string.benchmark_running, percent, summary.p50, summary.p90, thermal ?: getString(R.string.unknown))
        val series = benchmark.series()
        runOnUiThread {
            progress.progress = percent
            status.text = text
            chart.show(series)
        }
    }

    private fun describe(record: JsonObject): String {
        val latency = record.childOrNull("latency") ?: return ""
        val all =
            getString(
                R.string.benchmark_done,
                latency.number("p50_ms"),
                latency.number("p90_ms"),
                latency.number("p99_ms"),
                latency.whole("runs"),
            )
        val change = record.childOrNull("sustained") ?: return all
        val first = change.child("first").number("p50_ms")
        val last = change.child("last").number("p50_ms")
        return all + "\n" + getString(R.string.benchmark_change, first, last, change.number("loss_percent"))
    }

    private fun showRunning(now: Boolean) {
        running = now
        button.setText(if (now) R.string.stop else R.string.run)
        controls?.enable(!now)
        share.isEnabled = !now && record.isFile
        progress.progress = 0
        progress.visibility = if (now) View.VISIBLE else View.GONE
        keepScreenOn(now)
    }

    private companion object {
        val MINUTES = listOf(1, 3, 10)
    }
}
