package io.mobilemod.core

import io.mobilemod.core.harness.Device
import io.mobilemod.core.harness.Engine

/** What is benchmarked: a file of the bundle and how it runs. */
data class BenchmarkPlan(
    val file: ModelFile,
    val threads: Int,
    val delegate: String,
    val seconds: Double,
    val warmUpMax: Int = 200,
)

/**
 * A sustained run on the device: warm-up, then inference without pause for the planned time, the
 * device's state every few seconds. Nothing is dropped.
 */
class Benchmark(
    private val manifest: Manifest,
    private val plan: BenchmarkPlan,
    private val device: Device,
) {
    private val ms = ArrayList<Double>()
    private val at = ArrayList<Double>()
    private val states = ArrayList<Map<String, Any?>>()
    private var warmUpRuns = 0
    private var runtime = ""
    private var start = 0L

    /** The timed values so far, in ms. */
    fun summary(): Summary? = if (ms.isEmpty()) null else Summary.of(ms)

    /** Runs [engine]; [progress] gets the share done and the last state; ends early when [stopped]. */
    fun run(
        engine: Engine,
        progress: (Double, Map<String, Any?>) -> Unit = { _, _ -> },
        stopped: () -> Boolean = { false },
    ) {
        runtime = engine.runtime
        val input = FloatArray(Preprocessor(manifest.preprocess).inputSize)
        val warmUp = ArrayList<Double>()
        while (!WarmUp.isOver(warmUp, plan.warmUpMax) && !stopped()) {
            val began = device.nanos()
            engine.run(input)
            warmUp.add((device.nanos() - began) / NANOS_PER_MS)
        }
        warmUpRuns = warmUp.size
        start = device.nanos()
        var nextState = 0.0
        while (!stopped()) {
            val began = device.nanos()
            val second = (began - start) / NANOS_PER_S
            if (second >= plan.seconds) break
            if (second >= nextState) {
                states.add(state(second))
                progress(second / plan.seconds, states.last())
                nextState = second + STATE_EVERY
                continue
            }
            engine.run(input)
            ms.add((device.nanos() - began) / NANOS_PER_MS)
            at.add(second)
        }
        states.add(state((device.nanos() - start) / NANOS_PER_S))
    }

    private fun state(second: Double) = mapOf("t" to second) + device.state() + ("headroom" to device.headroom())

    /** Each timed value in ms with the second that it began at. */
    fun series(): List<Pair<Double, Double>> = at.zip(ms)

    /** The record to share, as JSON: schema `mobilemod/app-benchmark/1`. */
    fun record(): String {
        val change = Sustained.of(ms, at)
        return Json.write(
            mapOf(
                "schema" to SCHEMA,
                "model" to manifest.model,
                "file" to
                    mapOf(
                        "file" to plan.file.file,
                        "sha256" to plan.file.sha256,
                        "target" to plan.file.target,
                        "precision" to plan.file.precision,
                    ),
                "threads" to plan.threads,
                "delegate" to plan.delegate,
                "runtime" to runtime,
            ) + device.facts() +
                mapOf(
                    "wall" to device.wall(),
                    "warm_up_runs" to warmUpRuns,
                    "latency" to summary()?.let(::members),
                    "sustained" to
                        change?.let {
                            mapOf("first" to members(it.first), "last" to members(it.last), "loss_percent" to it.lossPercent)
                        },
                    "ms" to ms,
                    "at" to at,
                    "states" to states,
                ),
        )
    }

    private fun members(of: Summary) =
        mapOf(
            "runs" to of.count,
            "p50_ms" to of.p50,
            "p90_ms" to of.p90,
            "p99_ms" to of.p99,
            "min_ms" to of.min,
            "max_ms" to of.max,
            "mean_ms" to of.mean,
        )

    companion object {
        const val SCHEMA = "mobilemod/app-benchmark/1"
        private const val NANOS_PER_MS = 1e6
        private const val NANOS_PER_S = 1e9
        private const val STATE_EVERY = 5.0
    }
}
