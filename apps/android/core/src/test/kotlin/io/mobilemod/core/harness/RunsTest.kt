package io.mobilemod.core.harness

import io.mobilemod.core.DecodedImage
import io.mobilemod.core.Json
import io.mobilemod.core.JsonObject
import io.mobilemod.core.Manifest
import io.mobilemod.core.PreprocessSpec
import io.mobilemod.core.TestDevice
import io.mobilemod.core.Vectors
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.util.Base64
import kotlin.math.roundToInt
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** Jobs with scripted models: lines and inferences are those that every runner must give. */
class RunsTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var files: Map<String, ByteArray>
    private lateinit var shades: JsonObject
    private var classes: Int? = null

    private fun bytes(base64: String) = Base64.getDecoder().decode(base64)

    @Test
    fun everyCaseGivesItsLines() = runAll("runs.json", 40)

    @Test
    fun everyCaseOfMapsGivesItsLines() = runAll("maps_runs.json", 8)

    private fun runAll(
        name: String,
        moreThan: Int,
    ) {
        val vectors = Vectors.read(name)
        files = vectors.child("files").let { all -> all.keys.associateWith { bytes(all.text(it)) } }
        shades = vectors.child("shades")
        classes = Manifest.parse(files.getValue("manifest.json").decodeToString()).run { if (map == null) null else labels.size }
        val cases = vectors.objects("cases")
        assertTrue(cases.size > moreThan)
        for (case in cases) run(case)
    }

    private fun run(case: JsonObject) {
        val folder = temporary.newFolder()
        val changed = case.child("changed").let { all -> all.keys.associateWith { bytes(all.text(it)) } }
        for ((path, data) in files + changed) {
            File(folder, path).also { it.parentFile.mkdirs() }.writeBytes(data)
        }
        File(folder, Job.FILE).writeText(Json.write(case.child("job").raw()))
        case.childOrNull("resume")?.let { File(folder, Progress.RESUME).writeText(Json.write(it.raw())) }
        val stream = File(folder, "stream.jsonl")
        stream.writeText(case.list("held").joinToString("\n"))
        val job = Job.read(folder)
        val device = ScriptedDevice(job, folder, case.objects("engines"))
        val lines = ArrayList<Map<String, Any?>>()
        Runner(job, folder, device, { lines.add(Lines.decode(it)!!) }, Progress.read(job, folder, stream)).run()
        val name = case.text("name")
        assertEquals(Json.write(case.list("lines").map { plain(it) }), Json.write(lines.map { plain(skeleton(it)) }), name)
        assertEquals(Json.write(case.list("calls")), Json.write(device.calls), name)
        assertEquals(0, device.open, "$name: engines that are left open")
    }

    /** A line without what differs between devices and times. */
    private fun skeleton(line: Map<String, Any?>): Map<String, Any?> {
        val found = line.filter { (key, value) -> key in KEPT && value != null }.toMutableMap()
        (line["ms"] as? List<*>)?.let { found["count"] = it.size }
        (line["top"] as? List<*>)?.let { top -> found["top"] = top.map { (it as List<*>)[0] } }
        if (line["type"] in setOf("image", "golden")) found["logits"] = line["logits"]
        if ("runs" in line) {
            found["runs"] = line["runs"]
            line["logits_sha256"]?.let { found["logits_sha256"] = it }
        }
        return found
    }

    /** With sorted keys, and numbers written in one way. */
    private fun plain(value: Any?): Any? =
        when (value) {
            is Map<*, *> -> value.entries.sortedBy { it.key as String }.associate { it.key to plain(it.value) }
            is List<*> -> value.map(::plain)
            is Number -> value.toDouble()
            else -> value
        }

    /** Models of a case, a clock that they alone move, and a log of what they are fed. */
    private inner class ScriptedDevice(
        private val job: Job,
        private val folder: File,
        private val scripts: List<JsonObject>,
    ) : TestDevice() {
        val calls = ArrayList<MutableList<Int>>()
        var open = 0
        private var clock = 0L
        private val loads = IntArray(scripts.size)
        private val inferences = IntArray(scripts.size)

        override fun nanos() = clock

        override fun decode(image: File): DecodedImage {
            val path = image.relativeTo(folder).invariantSeparatorsPath
            val shade = shades.wholeOrNull(path) ?: throw IllegalArgumentException("no image")
            return DecodedImage(SIZE, SIZE, IntArray(SIZE * SIZE) { (255 shl 24) or shade * 0x10101 })
        }

        override fun open(request: LoadRequest): Engine {
            val one =
                job.configurations.single {
                    it.file.name == request.model.name && it.threads == request.threads && it.delegate == request.delegate
                }
            val script = scripts[one.index]
            val number = loads[one.index]++
            if (number.toDouble() in script.numbers("lacks")) throw UnavailableException("no such unit")
            check(number.toDouble() !in script.numbers("refuses")) { "refused" }
            open++
            return ScriptedEngine(one.index, script)
        }

        private inner class ScriptedEngine(
            private val index: Int,
            private val script: JsonObject,
        ) : Engine {
            override val runtime = "scripted"
            override val partitions: Int? = null
            override val fallback: Int? = null
            override val layout = PreprocessSpec.Layout.NCHW
            private val ms = script.numbers("ms")
            private var since = 0

            override fun run(input: FloatArray): FloatArray {
                log(((input[0] * 0.5 + 0.5) * 255).roundToInt())
                val call = inferences[index]++
                for (range in script.list("fails")) {
                    val (first, last) = (range as List<*>).map { it as Long? }
                    check(call < first!! || (last != null && call > last)) { "failed" }
                }
                clock += (ms[minOf(since++, ms.size - 1)] * 1e6).toLong()
                val numbers = script.list("logits").map { (it as Number?)?.toFloat() ?: Float.NaN }.toFloatArray()
                // Class by class; a .tflite file has them last.
                val each = classes ?: return numbers
                return FloatArray(numbers.size) { numbers[it % each * (numbers.size / each) + it / each] }
            }

            private fun log(shade: Int) {
                val last = calls.lastOrNull()
                if (last != null && last[0] == index && last[1] == shade) last[2]++ else calls.add(mutableListOf(index, shade, 1))
            }

            override fun close() {
                open--
            }
        }
    }

    private companion object {
        const val SIZE = 32
        val KEPT =
            setOf(
                "type",
                "configuration",
                "phase",
                "image",
                "source",
                "cold",
                "first",
                "where",
                "fatal",
                "answered",
                "timed",
                "errors",
            )
    }
}
