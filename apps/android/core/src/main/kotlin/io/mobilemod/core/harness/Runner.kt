package io.mobilemod.core.harness

import io.mobilemod.core.JsonException
import io.mobilemod.core.Manifest
import io.mobilemod.core.PreprocessSpec
import io.mobilemod.core.Preprocessor
import io.mobilemod.core.hex
import java.io.File
import java.io.RandomAccessFile
import java.security.MessageDigest

/** What the app shows of a job that runs. */
fun interface Listener {
    /** [done] of [all] steps of what [text] says. */
    fun progress(
        text: String,
        done: Int,
        all: Int,
    )
}

/**
 * Runs a job in the order of docs/harness-protocol.md and writes its stream. [sink] gets the lines;
 * [progress] says what needn't run again. What can't be run is an `error` line, not an exception;
 * a [SinkException] (disk full) ends the run.
 */
class Runner(
    private val job: Job,
    private val folder: File,
    private val device: Device,
    sink: LineSink,
    private val progress: Progress = Progress(job),
    private val listener: Listener = Listener { _, _, _ -> },
    private val stopped: () -> Boolean = { false },
) {
    private val out = Stream(sink, job.shortId, newRun(), device::nanos)
    private val ended = HashSet<Int>()
    private var lastState = 0L
    private lateinit var manifest: Manifest
    private lateinit var answers: Answers
    private lateinit var preprocessor: Preprocessor

    /** Runs what is left of the job; true where it came to its end without a fatal error. */
    fun run(): Boolean {
        val facts = device.facts().toList().toTypedArray()
        out.write("hello", "protocol" to Lines.PROTOCOL, *facts, "wall" to device.wall())
        val wrong = firstWrong()
        if (wrong != null) {
            out.error("job", wrong, fatal = true)
            return false
        }
        state()
        job.measured.forEach { if (!stopped()) answer(it) }
        if (job.latency != null) for (group in job.timedGroups()) if (!stopped()) latency(group, job.latency)
        if (job.sustainedSeconds > 0) job.measured.forEach { if (!stopped()) sustained(it) }
        // Last: a unit that takes the app down costs nothing that is measured.
        job.configurations.filter { it.selfTestOnly }.forEach { if (!stopped()) answer(it) }
        if (stopped()) return false
        state()
        out.write("done", "answered" to out.answered, "timed" to out.timed, "errors" to out.errors)
        return true
    }

    /** Checks hashes and the manifest; what is wrong first, naming the file, or null. */
    private fun firstWrong(): String? {
        val models = job.files.filter { it.target != COREML }.map { it.content }
        val contents = listOf(job.manifest) + models + job.golden + listOfNotNull(job.inputs.packed) + job.inputs.images
        contents.forEachIndexed { i, content ->
            listener.progress("hash", i, contents.size)
            val file = File(folder, content.path)
            if (!file.canonicalFile.startsWith(folder.canonicalFile)) return "${content.path} leads out of the job's folder"
            if (!file.isFile) return "${content.path} is missing"
            if (sha256(file) != content.sha256) return "${content.path} is not the job's file (sha256 differs)"
        }
        try {
            manifest = Manifest.parse(File(folder, job.manifest.path).readText())
        } catch (error: JsonException) {
            return error.message
        }
        answers = Answers(manifest)
        preprocessor = Preprocessor(manifest.preprocess)
        val packed = job.inputs.packed ?: return null
        val (given, taken) = job.inputs to manifest.preprocess
        if (given.height != taken.height || given.width != taken.width) {
            return "${packed.path} has ${given.height} x ${given.width} pixels an image, the model takes ${taken.height} x ${taken.width}"
        }
        val expected = job.inputs.count.toLong() * preprocessor.inputSize
        val bytes = File(folder, packed.path).length()
        return if (bytes == expected) null else "${packed.path} has $bytes bytes, not $expected"
    }

    private fun answer(configuration: Configuration) {
        val accuracy = job.accuracy && isFirstOfFile(configuration) && wants(configuration, ACCURACY)
        val golden = wants(configuration, GOLDEN)
        if (!accuracy && !golden) return
        load(configuration, 0)?.use { engine ->
            if (golden) golden(configuration, engine)
            if (accuracy && isGoing(configuration) && !stopped()) accuracy(configuration, engine)
        }
    }

    private fun isGoing(configuration: Configuration) = configuration.index !in ended

    private fun wants(
        configuration: Configuration,
        phase: String,
    ) = isGoing(configuration) && !progress.isFinished(configuration, phase)

    /** Says that a phase is finished, where nothing stopped it. */
    private fun finish(
        configuration: Configuration,
        phase: String,
    ) {
        if (stopped()) return
        state()
        out.write("finished", "configuration" to configuration.index, "phase" to phase)
    }

    /** What [body] gives; null where it fails, which is told and ends the configuration. */
    private fun <T> guarded(
        where: String,
        configuration: Configuration,
        body: () -> T,
    ): T? = attempt(body) { end(where, configuration, it) }

    /** Nothing more of [configuration] is run. */
    private fun end(
        where: String,
        configuration: Configuration,
        error: Throwable,
    ) {
        failed(where, configuration, error)
        ended.add(configuration.index)
    }

    private fun failed(
        where: String,
        configuration: Configuration,
        error: Throwable,
        image: Int? = null,
    ) = out.error(where, "${configuration.file.name}: ${describe(error)}", configuration.index, image)

    private fun golden(
        configuration: Configuration,
        engine: Engine,
    ) {
        job.golden.forEachIndexed { index, content ->
            listener.progress("${configuration.file.name}: golden", index, job.golden.size)
            val image = guarded(GOLDEN, configuration) { device.decode(File(folder, content.path)) } ?: return
            val inputs =
                mapOf(
                    "pixels" to { preprocessor.normalize(preprocessor.asIs(image), engine.layout) },
                    "image" to { preprocessor.tensor(image, engine.layout) },
                ).filterKeys { !configuration.selfTestOnly || it == "pixels" }
            for ((source, input) in inputs) {
                val answer =
                    guarded(GOLDEN, configuration) { answers.golden(engine.run(input()), configuration.file.target) } ?: return
                out.write(
                    "golden",
                    "configuration" to configuration.index,
                    "image" to index,
                    "source" to source,
                    answer,
                )
            }
        }
        finish(configuration, GOLDEN)
    }

    private fun accuracy(
        configuration: Configuration,
        engine: Engine,
    ) {
        val left = progress.left(configuration.file)
        var failures = 0
        var inARow = 0
        left.forEachIndexed { done, image ->
            if (stopped()) return
            listener.progress(configuration.file.name, job.inputs.count - left.size + done, job.inputs.count)
            stateIfDue()
            val began = device.nanos()
            val input = input(image, engine.layout) ?: return@forEachIndexed
            val preprocessMs = (device.nanos() - began) / NANOS_PER_MS
            val answered =
                attempt({ image(configuration, engine, image, input, preprocessMs) }) {
                    failed(ACCURACY, configuration, it, image)
                    failures++
                    inARow++
                }
            if (answered != null) inARow = 0
            if (inARow == FAILURES_IN_A_ROW) {
                ended.add(configuration.index)
                return
            }
        }
        if (failures == 0) finish(configuration, ACCURACY)
    }

    private fun image(
        configuration: Configuration,
        engine: Engine,
        image: Int,
        input: FloatArray,
        preprocessMs: Double,
    ) {
        val began = device.nanos()
        val output = engine.run(input)
        val inferenceMs = (device.nanos() - began) / NANOS_PER_MS
        out.write(
            "image",
            "configuration" to configuration.index,
            "image" to image,
            *answers.image(output, configuration.file.target, job.logits),
            "preprocess_ms" to preprocessMs,
            "inference_ms" to inferenceMs,
        )
    }

    /** Reads, decodes and preprocesses input [image]; null, and a line, where it can't be read. */
    private fun input(
        image: Int,
        layout: PreprocessSpec.Layout,
    ): FloatArray? {
        val packed = job.inputs.packed
        if (packed != null) {
            val pixels = ByteArray(preprocessor.inputSize)
            RandomAccessFile(File(folder, packed.path), "r").use {
                it.seek(image.toLong() * pixels.size)
                it.readFully(pixels)
            }
            return preprocessor.normalize(pixels, layout)
        }
        return try {
            preprocessor.tensor(device.decode(File(folder, job.inputs.images[image].path)), layout)
        } catch (error: Exception) {
            unreadable(image, error)
        } catch (error: OutOfMemoryError) {
            unreadable(image, error)
        }
    }

    private fun unreadable(
        image: Int,
        error: Throwable,
    ): Nothing? {
        progress.addUnreadable(image)
        out.write("unreadable", "image" to image, "message" to describe(error))
        return null
    }

    private fun latency(
        group: List<Configuration>,
        plan: LatencyPlan,
    ) {
        if (group.none { wants(it, LATENCY) }) return
        val open = ArrayList<Timed>()
        try {
            for (one in group.filter(::isGoing)) coldStarts(one)?.let { open.add(timed(one, it)) }
            time(open, LATENCY, Phase.warmUp(plan), Phase.steady(plan))
        } finally {
            open.forEach { it.engine.close() }
        }
    }

    /** The last of the cold starts, which is timed; null where one failed. */
    private fun coldStarts(configuration: Configuration): Engine? {
        for (cold in 1 until latencyLoads) load(configuration, cold)?.close() ?: return null
        return load(configuration, latencyLoads)
    }

    private val latencyLoads get() = job.latency?.coldStarts?.coerceAtLeast(1) ?: 0

    private fun sustained(configuration: Configuration) {
        if (!wants(configuration, SUSTAINED)) return
        load(configuration, latencyLoads + 1)?.use {
            time(listOf(timed(configuration, it)), SUSTAINED, Phase.sustained(job.sustainedSeconds))
        }
    }

    private fun timed(
        configuration: Configuration,
        engine: Engine,
    ) = Timed(configuration, engine, sample(engine.layout))

    /** Times a group in turns through [phases]; what fails leaves it. */
    private fun time(
        group: List<Timed>,
        where: String,
        vararg phases: Phase,
    ) {
        val going = group.toMutableList()
        for (phase in phases) {
            val turns = Turns(phase, out, device::nanos, stopped, { one, error -> end(where, one, error) })
            turns.run(going) { count ->
                listener.progress("${group[0].configuration.file.name}: ${phase.name}", count, 0)
                stateIfDue()
            }
        }
        going.forEach { finish(it.configuration, where) }
    }

    /**
     * A fresh load and its line; null where it failed, where the run is stopped, or where the device
     * can't run it, which is told as that and is no error.
     */
    private fun load(
        configuration: Configuration,
        cold: Int,
    ): Engine? {
        if (stopped()) return null
        return attempt({ loaded(configuration, cold) }) {
            if (configuration.selfTestOnly || it is UnavailableException) {
                out.write("unavailable", "configuration" to configuration.index, "message" to describe(it).take(LONGEST_MESSAGE))
                ended.add(configuration.index)
            } else {
                end(LOAD, configuration, it)
            }
        }
    }

    private fun loaded(
        configuration: Configuration,
        cold: Int,
    ): Engine {
        val request =
            LoadRequest(
                File(folder, configuration.file.content.path),
                configuration.file.target,
                configuration.threads,
                configuration.delegate,
                preprocessor.inputShape,
                givesClasses = manifest.givesClasses,
            )
        val began = device.nanos()
        val engine = device.open(request)
        val seconds = (device.nanos() - began) / NANOS_PER_S
        try {
            val input = sample(engine.layout)
            val first = device.nanos()
            engine.run(input)
            out.write(
                "load",
                "configuration" to configuration.index,
                "seconds" to seconds,
                "first_inference_ms" to (device.nanos() - first) / NANOS_PER_MS,
                "cold" to cold,
                "runtime" to engine.runtime,
                "partitions" to engine.partitions,
                "fallback" to engine.fallback,
                "accelerated" to engine.accelerated,
            )
        } catch (error: Throwable) {
            engine.close()
            throw error
        }
        return engine
    }

    /** What is timed, and fed first after a load: the first golden image as it is, or grey. */
    private fun sample(layout: PreprocessSpec.Layout): FloatArray {
        val golden = job.golden.firstOrNull()
        val pixels =
            if (golden == null) {
                ByteArray(preprocessor.inputSize) { GREY.toByte() }
            } else {
                preprocessor.asIs(device.decode(File(folder, golden.path)))
            }
        return preprocessor.normalize(pixels, layout)
    }

    private fun isFirstOfFile(configuration: Configuration) =
        job.measured.find { it.file.name == configuration.file.name } === configuration

    private fun stateIfDue() {
        if (device.nanos() - lastState > STATE_EVERY * NANOS_PER_S) state()
    }

    private fun state() {
        lastState = device.nanos()
        out.write("state", *device.state().toList().toTypedArray())
    }

    companion object {
        private const val LOAD = "load"
        private const val GOLDEN = "golden"
        private const val ACCURACY = "accuracy"
        private const val LATENCY = "latency"
        private const val SUSTAINED = "sustained"
        private const val COREML = "coreml"
        private const val NANOS_PER_MS = 1e6
        private const val NANOS_PER_S = 1e9
        private const val STATE_EVERY = 5.0
        private const val FAILURES_IN_A_ROW = 3
        private const val GREY = 128
        private const val LONGEST_MESSAGE = 500

        private fun describe(error: Throwable): String = error.message ?: error.javaClass.simpleName

        private fun sha256(file: File): String {
            val digest = MessageDigest.getInstance("SHA-256")
            file.inputStream().use { input ->
                val buffer = ByteArray(1 shl 16)
                while (true) {
                    val count = input.read(buffer)
                    if (count < 0) break
                    digest.update(buffer, 0, count)
                }
            }
            return digest.digest().hex()
        }
    }
}
