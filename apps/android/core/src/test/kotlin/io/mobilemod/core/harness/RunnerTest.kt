package io.mobilemod.core.harness

import io.mobilemod.core.Json
import io.mobilemod.core.LinearEngine
import io.mobilemod.core.TestBundle
import io.mobilemod.core.TestDevice
import io.mobilemod.core.logitsSha256
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNotEquals
import kotlin.test.assertTrue

/** The order of docs/harness-protocol.md, and what becomes of a job that is cut off or wrong. */
class RunnerTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var folder: File
    private val images = 6

    @Before
    fun makeJob() {
        folder = temporary.newFolder()
        val bundle = TestBundle(folder)
        File(folder, "models").mkdirs()
        File(folder, "inputs").mkdirs()
        for ((name, _) in bundle.files) File(folder, name).renameTo(File(folder, "models/$name"))
        for (i in 0 until images) TestBundle.writeNoise(File(folder, "inputs/$i.png"), 40 + 7 * i, 60, 100 + i)
        writeJob()
    }

    private fun content(path: String) = mapOf("path" to path, "sha256" to TestBundle.sha256(File(folder, path)))

    private fun writeJob(vararg changes: Pair<String, Any?>) {
        val files =
            listOf("net_int8.tflite" to "net_float32.tflite", "net_float32.tflite" to null).map { (name, twin) ->
                mapOf("name" to name, "target" to "tflite", "precision" to "x", "twin" to twin, "bytes" to 4) + content("models/$name")
            }
        val items = (0 until images).map { mapOf("name" to "an \"image\" $it.png", "target" to null) + content("inputs/$it.png") }
        val job =
            mapOf(
                "schema" to Job.SCHEMA,
                "id" to "ab".repeat(32),
                "model" to "net",
                "manifest" to content("manifest.json"),
                "files" to files,
                "inputs" to mapOf("kind" to "images", "count" to images, "items" to items),
                "golden" to listOf(content("golden/0.png"), content("golden/1.png")),
                "configurations" to
                    listOf("net_int8.tflite" to 1, "net_float32.tflite" to 1, "net_int8.tflite" to 2)
                        .map { mapOf("file" to it.first, "threads" to it.second, "delegate" to "xnnpack") },
                "accuracy" to true,
                "latency" to mapOf("warm_up_seconds" to 0, "warm_up_max" to 20, "min_runs" to 70, "min_seconds" to 0, "cold_starts" to 3),
                "sustained_seconds" to 0,
                "logits" to true,
            )
        File(folder, Job.FILE).writeText(Json.write(job + changes))
    }

    private val stream get() = File(folder, "stream.jsonl")

    private fun run(
        device: TestDevice = TestDevice(),
        stopped: (Int) -> Boolean = { false },
    ): Boolean {
        val job = Job.read(folder)
        val progress = Progress.read(job, folder, stream)
        LineFile(stream).use { file ->
            var written = 0
            val sink = LineSink { line -> file.write(line).also { written++ } }
            return Runner(job, folder, device, sink, progress, stopped = { stopped(written) }).run()
        }
    }

    private fun lines() = stream.readLines().map { Lines.decode(it) ?: throw AssertionError("damaged: $it") }

    private fun of(type: String) = lines().filter { it["type"] == type }

    @Test
    fun runsInTheOrderOfTheProtocol() {
        assertTrue(run())
        val lines = lines()
        assertEquals("hello", lines.first()["type"])
        assertEquals("done", lines.last()["type"])
        assertEquals(lines.indices.map { it.toLong() }, lines.map { it["seq"] })
        assertEquals(1, lines.map { it["run"] }.toSet().size)
        val phases = of("finished").map { "${it["configuration"]} ${it["phase"]}" }
        val expected = listOf("0 golden", "0 accuracy", "1 golden", "1 accuracy", "2 golden", "0 latency", "1 latency", "2 latency")
        assertEquals(expected, phases)
        assertEquals(2L * images, lines.last()["answered"])
        assertEquals(12, of("golden").size)
        for (configuration in 0L..2L) {
            val cold = of("load").filter { it["configuration"] == configuration }.map { it["cold"] }
            assertEquals(listOf<Any?>(0L, 1L, 2L, 3L), cold)
        }
    }

    @Test
    fun answersAreTheModels() {
        run()
        val logits = LinearEngine(TestBundle.SEED, 4)
        val manifest =
            io.mobilemod.core.Manifest
                .parse(File(folder, "manifest.json").readText())
        val preprocessor = io.mobilemod.core.Preprocessor(manifest.preprocess)
        for (line in of("image")) {
            val expected = logits.run(preprocessor.tensor(TestBundle.decodePng(File(folder, "inputs/${line["image"]}.png"))))
            assertEquals(logitsSha256(expected), line["logits_sha256"])
            assertEquals(expected.map { it.toDouble() }, line["logits"])
        }
        for (line in of("golden").filter { it["source"] == "pixels" }) {
            val golden = manifest.golden[(line["image"] as Long).toInt()].logits.getValue("net_int8.tflite")
            assertEquals(golden.map { it.toDouble() }, line["logits"])
        }
    }

    @Test
    fun aChannelsLastFileGivesTheSameAnswers() {
        run()
        val expected = (of("image") + of("golden")).map { it["logits"] }
        stream.delete()
        val device =
            TestDevice(engine = { _, _ ->
                val first = LinearEngine(TestBundle.SEED, 4)
                object : Engine by first {
                    override val layout = io.mobilemod.core.PreprocessSpec.Layout.NHWC

                    override fun run(input: FloatArray): FloatArray {
                        val plane = input.size / 3
                        return first.run(FloatArray(input.size) { input[3 * (it % plane) + it / plane] })
                    }
                }
            })
        run(device)
        assertEquals(expected, (of("image") + of("golden")).map { it["logits"] })
    }

    @Test
    fun twinsAreTimedInTurnsAndNothingIsDropped() {
        val calls = ArrayList<String>()
        val device =
            TestDevice(engine = { file, _ ->
                object : Engine by LinearEngine(TestBundle.SEED, 4) {
                    override fun run(input: FloatArray): FloatArray = FloatArray(4).also { calls.add(file.name) }
                }
            })
        run(device)
        val times = of("times").filter { it["phase"] == "steady" }
        for (configuration in 0L..2L) {
            val own = times.filter { it["configuration"] == configuration }
            val counts = own.map { (it["ms"] as List<*>).size.toLong() }
            assertEquals(70L, counts.sum())
            assertTrue(counts.all { it <= 64 })
            assertEquals(counts.runningFold(0L) { sum, n -> sum + n }.dropLast(1), own.map { it["first"] })
        }
        // Of the paired rounds each file begins every other one: a, b, b, a, a, b, …
        val paired = calls.takeLast(70 + 4 + 20 + 140).take(100)
        assertTrue(paired.zipWithNext().any { (a, b) -> a == b && a == "net_int8.tflite" })
        assertTrue(paired.zipWithNext().any { (a, b) -> a == b && a == "net_float32.tflite" })
    }

    @Test
    fun resumesAtTheLastImage() {
        assertFalse(run(stopped = { it >= 12 }))
        val before = of("image").map { it["configuration"] to it["image"] }
        assertTrue(before.isNotEmpty() && before.size < images)
        assertTrue(run())
        val after = of("image").map { it["configuration"] to it["image"] }
        assertEquals(after.toSet().size, after.size, "an image was answered twice")
        assertEquals(2 * images, after.size)
        assertEquals(2, lines().map { it["run"] }.toSet().size)
        val size = stream.length()
        assertTrue(run())
        val third =
            stream
                .readText()
                .substring(size.toInt())
                .lines()
                .filter { it.isNotEmpty() }
                .map { Lines.decode(it)!!["type"] }
        assertEquals(listOf<Any?>("hello", "state", "state", "done"), third)
    }

    @Test
    fun aTruncatedLineSpoilsNoOther() {
        run(stopped = { it >= 12 })
        stream.appendText("""{"type":"image","job":"abab""")
        assertTrue(run())
        val damaged = stream.readLines().count { Lines.decode(it) == null }
        assertEquals(1, damaged)
    }

    @Test
    fun resumeJsonIsHeeded() {
        val answered = mapOf("net_int8.tflite" to listOf(listOf(0, 4)), "net_float32.tflite" to listOf(listOf(0, 5)))
        val finished = listOf(listOf(0, "latency"), listOf(1, "latency"))
        val resume = mapOf("schema" to Progress.SCHEMA, "job" to "ab".repeat(32), "answered" to answered, "finished" to finished)
        File(folder, Progress.RESUME).writeText(Json.write(resume))
        assertTrue(run())
        assertEquals(listOf(listOf<Any?>(0L, 5L)), of("image").map { listOf(it["configuration"], it["image"]) })
        assertEquals(setOf<Any?>(2L), of("times").map { it["configuration"] }.toSet())
    }

    @Test
    fun aWrongFileIsAFatalErrorThatNamesIt() {
        File(folder, "models/net_float32.tflite").writeText("other")
        assertFalse(run())
        val error = of("error").single()
        assertEquals(true, error["fatal"])
        assertContains(error["message"] as String, "models/net_float32.tflite")
        assertEquals(emptyList(), of("image"))
    }

    @Test
    fun anUnreadableImageIsSaidOnce() {
        File(folder, "inputs/3.png").writeText("no image")
        writeJob()
        assertTrue(run())
        assertEquals(listOf<Any?>(3L), of("unreadable").map { it["image"] })
        assertEquals(2 * (images - 1), of("image").size)
    }

    @Test
    fun logitsThatArentNumbersAreAnswers() {
        val device =
            TestDevice(engine = { _, _ ->
                object : Engine by LinearEngine(TestBundle.SEED, 4) {
                    override fun run(input: FloatArray) = FloatArray(4) { Float.NaN }
                }
            })
        assertTrue(run(device))
        assertTrue(of("error").isEmpty())
        assertEquals(2 * images, of("image").size)
        assertTrue(of("image").all { it["top"] == emptyList<Any?>() })
        assertEquals(listOf<Any?>(null, null, null, null), of("golden").first()["logits"])
    }

    @Test
    fun aModelThatWontLoadLeavesTheOthers() {
        val device =
            TestDevice(engine = { file, _ ->
                if (file.name == "net_int8.tflite") throw UnsatisfiedLinkError("no runtime here")
                LinearEngine(TestBundle.SEED, 4)
            })
        assertTrue(run(device))
        assertTrue(of("error").all { it["fatal"] == false && "no runtime here" in it["message"] as String })
        assertEquals(images, of("image").size)
    }

    @Test
    fun aFullDiskEndsTheRun() {
        val job = Job.read(folder)
        var lines = 0
        val sink = LineSink { if (++lines > 5) throw SinkException(IOException("No space left on device")) }
        assertFailsWith<SinkException> { Runner(job, folder, TestDevice(), sink).run() }
        assertEquals(6, lines)
    }

    @Test
    fun packedPixelsAreFedAsTheyAre() {
        val manifest =
            io.mobilemod.core.Manifest
                .parse(File(folder, "manifest.json").readText())
        val preprocessor = io.mobilemod.core.Preprocessor(manifest.preprocess)
        val packed = File(folder, "inputs/pixels.bin")
        packed.outputStream().use { out ->
            (0 until images).forEach { out.write(preprocessor.pixels(TestBundle.decodePng(File(folder, "inputs/$it.png")))) }
        }
        run()
        val expected = of("image").map { listOf(it["configuration"], it["image"], it["logits_sha256"]) }
        stream.delete()
        val inputs =
            mapOf(
                "kind" to "pixels",
                "count" to images,
                "shape" to listOf(images, 32, 32, 3),
                "items" to List(images) { mapOf("name" to "x", "target" to 0) },
            ) +
                content("inputs/pixels.bin")
        writeJob("inputs" to inputs)
        assertTrue(run())
        assertEquals(expected, of("image").map { listOf(it["configuration"], it["image"], it["logits_sha256"]) })
    }

    @Test
    fun sustainedRunsItsTime() {
        var now = 0L
        val device =
            TestDevice({
                1_000_000L.let {
                    now += it
                    now
                }
            })
        writeJob("latency" to null, "accuracy" to false, "sustained_seconds" to 2)
        assertTrue(run(device))
        val at = of("times").flatMap { it["at"] as List<*> }.map { it as Double }
        assertEquals(setOf<Any?>("sustained"), of("times").map { it["phase"] }.toSet())
        assertTrue(at.last() - at.first() > 2.0)
        assertEquals(3, of("finished").count { it["phase"] == "sustained" })
    }

    @Test
    fun refusesJobsThatLeadElsewhere() {
        val bad = listOf("../secret", "/etc/passwd", "models/../../x", "a b", "")
        for (path in bad) {
            writeJob("manifest" to mapOf("path" to path, "sha256" to "0"))
            assertContains(assertFailsWith<JobException>(path) { Job.read(folder) }.message!!, "may not be opened")
        }
        writeJob("id" to "../../x")
        assertFailsWith<JobException> { Job.read(folder) }
        writeJob("configurations" to listOf(mapOf("file" to "other", "threads" to 1, "delegate" to "cpu")))
        assertContains(assertFailsWith<JobException> { Job.read(folder) }.message!!, "no file 'other'")
        File(folder, Job.FILE).writeText("{")
        assertFailsWith<JobException> { Job.read(folder) }
    }

    @Test
    fun aLinkOutOfTheFolderIsRefused() {
        val outside = temporary.newFile("outside.png")
        File(folder, "golden/0.png").copyTo(outside, overwrite = true)
        File(folder, "golden/0.png").delete()
        java.nio.file.Files
            .createSymbolicLink(File(folder, "golden/0.png").toPath(), outside.toPath())
        assertFalse(run())
        assertContains(of("error").single()["message"] as String, "leads out of the job's folder")
    }

    @Test
    fun onlyFoldersOfJobsAreOpened() {
        val base = temporary.newFolder()
        val id = "ab".repeat(32)
        val jobs = File(base, "jobs")
        File(jobs, id).mkdirs()
        val roots = listOf(jobs, File("/data/local/tmp/mobilemod/jobs"))
        assertEquals(File(jobs, id).canonicalFile, JobFolder.resolve("jobs/$id", base, roots))
        assertEquals(File(jobs, id).canonicalFile, JobFolder.resolve(File(jobs, id).path, base, roots))
        java.nio.file.Files
            .createSymbolicLink(File(jobs, "cd".repeat(32)).toPath(), folder.toPath())
        val bad = listOf("jobs/../jobs2/$id", "/data/data/other/$id", "jobs", "jobs/x", "jobs/$id/models", "", "jobs/" + "cd".repeat(32))
        for (asked in bad) assertFailsWith<JobException>(asked) { JobFolder.resolve(asked, base, roots) }
    }

    @Test
    fun anUnreadableJobIsAFatalLine() {
        val named = File(temporary.newFolder(), "ab".repeat(32))
        folder.copyRecursively(named)
        val lines = ArrayList<String>()
        assertEquals("ab".repeat(32), JobFolder.read(named, lines::add, TestDevice())?.id)
        File(named, Job.FILE).writeText("{}")
        assertEquals(null, JobFolder.read(named, lines::add, TestDevice()))
        val error = Lines.decode(lines.single())!!
        assertEquals(listOf("error", "ab".repeat(8), true), listOf(error["type"], error["job"], error["fatal"]))
    }

    @Test
    fun noJobTextBringsAnotherException() {
        val good = File(folder, Job.FILE).readText()
        val random = kotlin.random.Random(3)
        var refused = 0
        repeat(10_000) {
            val text = StringBuilder(good)
            repeat(1 + random.nextInt(4)) {
                val at = random.nextInt(text.length)
                when (random.nextInt(3)) {
                    0 -> text.setCharAt(at, random.nextInt(1, 0x250).toChar())
                    1 -> text.delete(at, minOf(text.length, at + 1 + random.nextInt(30)))
                    else -> text.insert(at, listOf("..", "/", "\"", "null", "-1", "1e999", "[", "}").random(random))
                }
            }
            try {
                val job = Job.parse(text.toString())
                (
                    listOf(
                        job.manifest,
                    ) + job.golden + job.files.map { it.content } + job.inputs.images
                ).forEach { assertTrue(isSafePath(it.path)) }
            } catch (_: JobException) {
                refused++
            }
        }
        assertNotEquals(0, refused)
    }
}
