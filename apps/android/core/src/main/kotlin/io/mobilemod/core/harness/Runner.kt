package io.mobilemod.core.harness

import io.mobilemod.core.JsonException
import io.mobilemod.core.Manifest
import io.mobilemod.core.PreprocessSpec
import io.mobilemod.core.Preprocessor
import io.mobilemod.core.WarmUp
import io.mobilemod.core.hex
import io.mobilemod.core.logitsSha256
import io.mobilemod.core.topK
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
    private val colds = IntArray(job.configurations.size)
    private var lastState = 0L
    private lateinit var manifest: Manifest
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
        job.configurations.forEach { if (!stopped()) answer(it) }
        for (group in latencyGroups()) if (!stopped()) latency(group)
        if (job.sustainedSeconds > 0) job.configurations.forEach { if (!stopped()) sustained(it) }
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
        preprocessor = Preprocessor(manifest.preprocess)
        val packed = job.inputs.packed ?: return null
        val size = manifest.preprocess.size
        if (job.inputs.size != size) return "${packed.path} has ${job.inputs.size} pixels a side, the model takes $size"
        val expected = job.inputs.count.toLong() * preprocessor.inputSize
        val bytes = File(folder, packed.path).length()
        return if (bytes == expected) null else "${packed.path} has $bytes bytes, not $expected"
    }

    private fun answer(configuration: Configuration) {
        val accuracy = job.accuracy && isFirstOfFile(configuration) && !progress.isFinished(configuration, ACCURACY)
        val golden = job.golden.isNotEmpty() && !progress.isFinished(configuration, GOLDEN)
        if (!accuracy && !golden) return
        withEngine(configuration) { engine ->
            if (golden) phase(configuration, GOLDEN) { golden(configuration, engine) }
            if (accuracy && !stopped()) phase(configuration, ACCURACY) { accuracy(configuration, engine) }
        }
    }

    /** Does a phase; it is finished where nothing stopped it. */
    private fun phase(
        configuration: Configuration,
        name: String,
        body: () -> Unit,
    ) {
        body()
        state()
        if (!stopped()) out.write("finished", "configuration" to configuration.index, "phase" to name)
    }

    private fun golden(
        configuration: Configuration,
        engine: Engine,
    ) {
        job.golden.forEachIndexed { index, content ->
            listener.progress("${configuration.file.name}: golden", index, job.golden.size)
            val image = device.decode(File(folder, content.path))
            val inputs =
                mapOf(
                    "pixels" to preprocessor.normalize(preprocessor.asIs(image), engine.layout),
                    "image" to preprocessor.tensor(image, engine.layout),
                )
            for ((source, input) in inputs) {
                out.write(
                    "golden",
                    "configuration" to configuration.index,
                    "image" to index,
                    "source" to source,
                    "logits" to engine.run(input),
                )
            }
        }
    }

    private fun accuracy(
        configuration: Configuration,
        engine: Engine,
    ) {
        val left = progress.left(configuration.file)
        var failures = 0
        left.forEachIndexed { done, image ->
            if (stopped()) return
            listener.progress(configuration.file.name, job.inputs.count - left.size + done, job.inputs.count)
            stateIfDue()
            val began = device.nanos()
            val input = input(image, engine.layout) ?: return@forEachIndexed
            try {
                image(configuration, engine, image, input, (device.nanos() - began) / NANOS_PER_MS)
                failures = 0
            } catch (error: SinkException) {
                throw error
            } catch (error: Exception) {
                if (++failures == MOST_FAILURES) throw error
                failed(configuration, error, image)
            }
        }
    }

    private fun image(
        configuration: Configuration,
        engine: Engine,
        image: Int,
        input: FloatArray,
        preprocessMs: Double,
    ) {
        val began = device.nanos()
        val logits = engine.run(input)
        val inferenceMs = (device.nanos() - began) / NANOS_PER_MS
        val top = topK(logits, TOP)
        check(top.isNotEmpty()) { "no logit is finite" }
        val members =
            linkedMapOf<String, Any?>(
                "configuration" to configuration.index,
                "image" to image,
                "top" to top.map { listOf(it.index, it.logit) },
                "logits_sha256" to logitsSha256(logits),
            )
        if (job.logits) members["logits"] = logits
        members["preprocess_ms"] = preprocessMs
        members["inference_ms"] = inferenceMs
        out.write("image", *members.toList().toTypedArray())
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

    /** int8 and its float twin together, where both run with the same threads and delegate. */
    private fun latencyGroups(): List<List<Configuration>> {
        if (job.latency == null) return emptyList()
        val groups = ArrayList<List<Configuration>>()
        val taken = HashSet<Int>()
        for (one in job.configurations) {
            if (!taken.add(one.index)) continue
            val twin =
                job.configurations.find {
                    it.index !in taken && it.threads == one.threads && it.delegate == one.delegate &&
                        (it.file.name == one.file.twin || it.file.twin == one.file.name)
                }
            twin?.let { taken.add(it.index) }
            groups.add(listOfNotNull(one, twin))
        }
        return groups.filter { group -> group.any { !progress.isFinished(it, LATENCY) } }
    }

    private fun latency(group: List<Configuration>) {
        val plan = job.latency!!
        repeat(plan.coldStarts - 1) { start ->
            group.forEach { if (colds[it.index] <= start && !stopped()) withEngine(it) {} }
        }
        withEngines(group, emptyList()) { engines ->
            val inputs = engines.map { sample(it.layout) }
            val warmUp = engines.map { WarmUp(plan.warmUpMax) }
            turns(group, engines, "warm-up", inputs, plan.warmUpSeconds, { warmUp.all { it.done } }) { i, ms -> warmUp[i].add(ms) }
            val counts = IntArray(engines.size)
            turns(group, engines, "steady", inputs, plan.minSeconds, { counts.all { it >= plan.minRuns } }) { i, _ -> counts[i]++ }
            group.forEach { phase(it, LATENCY) {} }
        }
    }

    /** Runs [engines] one inference each, who begins alternating, until [seconds] passed and [enough]. */
    private fun turns(
        group: List<Configuration>,
        engines: List<Engine>,
        phase: String,
        inputs: List<FloatArray>,
        seconds: Double,
        enough: () -> Boolean,
        add: (Int, Double) -> Unit,
    ) {
        val times = group.map { out.Times(it.index, phase) }
        val start = device.nanos()
        var round = 0
        while (!stopped() && (!enough() || device.nanos() - start < seconds * NANOS_PER_S)) {
            for (turn in engines.indices) {
                val i = (turn + round) % engines.size
                val began = device.nanos()
                engines[i].run(inputs[i])
                val ms = (device.nanos() - began) / NANOS_PER_MS
                times[i].add(began, ms)
                add(i, ms)
            }
            round++
            listener.progress("${group[0].file.name}: $phase", times[0].count, 0)
            stateIfDue()
        }
        times.forEach { it.flush() }
    }

    private fun sustained(configuration: Configuration) {
        if (progress.isFinished(configuration, SUSTAINED)) return
        withEngine(configuration) { engine ->
            phase(configuration, SUSTAINED) {
                turns(
                    listOf(configuration),
                    listOf(engine),
                    SUSTAINED,
                    listOf(sample(engine.layout)),
                    job.sustainedSeconds,
                    { true },
                ) { _, _ -> }
            }
        }
    }

    private fun withEngine(
        configuration: Configuration,
        body: (Engine) -> Unit,
    ) = withEngines(listOf(configuration), emptyList()) { body(it[0]) }

    /** Loads what of [group] isn't in [open] yet, then calls [body]; what fails is an `error` line. */
    private fun withEngines(
        group: List<Configuration>,
        open: List<Engine>,
        body: (List<Engine>) -> Unit,
    ) {
        if (open.size == group.size) return body(open)
        val configuration = group[open.size]
        try {
            load(configuration).use { withEngines(group, open + it, body) }
        } catch (error: SinkException) {
            throw error
        } catch (error: Exception) {
            failed(configuration, error)
        } catch (error: LinkageError) {
            failed(configuration, error)
        } catch (error: OutOfMemoryError) {
            failed(configuration, error)
        }
    }

    private fun failed(
        configuration: Configuration,
        error: Throwable,
        image: Int? = null,
    ) = out.error("run", "${configuration.file.name}: ${describe(error)}", configuration.index, image)

    private fun load(configuration: Configuration): Engine {
        val request =
            LoadRequest(
                File(folder, configuration.file.content.path),
                configuration.file.target,
                configuration.threads,
                configuration.delegate,
                preprocessor.inputShape,
            )
        val began = device.nanos()
        val engine = device.open(request)
        val loaded = device.nanos()
        val first: Long
        try {
            val input = sample(engine.layout)
            first = device.nanos()
            engine.run(input)
        } catch (error: Exception) {
            engine.close()
            throw error
        }
        val ended = device.nanos()
        out.write(
            "load",
            "configuration" to configuration.index,
            "seconds" to (loaded - began) / NANOS_PER_S,
            "first_inference_ms" to (ended - first) / NANOS_PER_MS,
            "cold" to colds[configuration.index]++,
            "runtime" to engine.runtime,
            "partitions" to engine.partitions,
            "fallback" to engine.fallback,
        )
        return engine
    }

    /** What latency is measured on: the first golden image, or zeros. */
    private fun sample(layout: PreprocessSpec.Layout): FloatArray {
        val golden = job.golden.firstOrNull() ?: return FloatArray(preprocessor.inputSize)
        return preprocessor.normalize(preprocessor.asIs(device.decode(File(folder, golden.path))), layout)
    }

    private fun isFirstOfFile(configuration: Configuration) =
        job.configurations.first { it.file.name == configuration.file.name } === configuration

    private fun stateIfDue() {
        if (device.nanos() - lastState > STATE_EVERY * NANOS_PER_S) state()
    }

    private fun state() {
        lastState = device.nanos()
        out.write("state", *device.state().toList().toTypedArray())
    }

    companion object {
        private const val GOLDEN = "golden"
        private const val ACCURACY = "accuracy"
        private const val LATENCY = "latency"
        private const val SUSTAINED = "sustained"
        private const val COREML = "coreml"
        private const val TOP = 5
        private const val NANOS_PER_MS = 1e6
        private const val NANOS_PER_S = 1e9
        private const val STATE_EVERY = 5.0
        private const val MOST_FAILURES = 3

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
