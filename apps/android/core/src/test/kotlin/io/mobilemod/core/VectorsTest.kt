package io.mobilemod.core

import io.mobilemod.core.harness.Job
import io.mobilemod.core.harness.Lines
import io.mobilemod.core.harness.Progress
import io.mobilemod.core.harness.isJobId
import io.mobilemod.core.harness.isSafePath
import org.junit.Test
import java.util.Base64
import kotlin.math.abs
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue

class VectorsTest {
    @Test
    fun preprocessingIsBitEqualToPython() {
        val cases = Vectors.read("preprocess.json").objects("cases")
        for (case in cases) {
            val preprocessor = Preprocessor(PreprocessSpec.of(case.child("preprocess")))
            val image = Vectors.draw(case)
            val pixels = preprocessor.pixels(image)
            assertContentEquals(Base64.getDecoder().decode(case.text("pixels")), pixels, case.text("name"))
            val tensor = preprocessor.tensor(image)
            for (pair in case.list("tensor")) {
                val (index, value) = pair as List<*>
                val difference = abs(tensor[(index as Long).toInt()] - (value as Number).toFloat())
                assertTrue(difference <= 1e-6, "${case.text("name")}: tensor[$index] differs by $difference")
            }
        }
        assertTrue(cases.size >= 30, "${cases.size} cases")
    }

    @Test
    fun onePreprocessorTakesImagesOfChangingSize() {
        val alike =
            Vectors
                .read("preprocess.json")
                .objects("cases")
                .groupBy(::specOf)
                .values
                .maxBy { it.size }
        val preprocessor = Preprocessor(specOf(alike[0]))
        for (case in alike + alike.reversed()) {
            assertContentEquals(Base64.getDecoder().decode(case.text("pixels")), preprocessor.pixels(Vectors.draw(case)), case.text("name"))
        }
    }

    private fun specOf(case: JsonObject) = PreprocessSpec.of(case.child("preprocess"))

    @Test
    fun channelsLastHoldsTheSameValues() {
        val case = Vectors.read("preprocess.json").objects("cases").first { it.text("name") == "landscape" }
        val spec = specOf(case)
        val image = Vectors.draw(case)
        val first = Preprocessor(spec).tensor(image)
        val last = Preprocessor(spec.copy(layout = PreprocessSpec.Layout.NHWC)).tensor(image)
        val plane = spec.height * spec.width
        for (i in first.indices) assertEquals(first[i], last[3 * (i % plane) + i / plane])
    }

    @Test
    fun topKAndHash() {
        for (case in Vectors.read("top_k.json").objects("cases")) {
            val logits = case.list("logits").map { (it as Number?)?.toFloat() ?: Float.NaN }.toFloatArray()
            val top = topK(logits, case.whole("k")).map { listOf(it.index.toLong(), it.logit.toDouble()) }
            assertEquals(case.list("top").toString(), top.toString())
            case.textOrNull("sha256")?.let { assertEquals(it, logitsSha256(logits)) }
        }
    }

    @Test
    fun percentiles() {
        for (case in Vectors.read("statistics.json").objects("percentiles")) {
            val summary = Summary.of(case.numbers("values"))
            assertEquals(case.number("p50"), summary.p50)
            assertEquals(case.number("p90"), summary.p90)
            assertEquals(case.number("p99"), summary.p99)
            assertEquals(case.number("min"), summary.min)
            assertEquals(case.number("max"), summary.max)
            assertEquals(case.number("mean"), summary.mean, 1e-9)
        }
    }

    @Test
    fun framesASecond() {
        val rate = FrameRate(3)
        rate.add(0)
        assertNull(rate.perSecond())
        for (ms in listOf(100L, 150L, 200L)) rate.add(ms * 1_000_000)
        assertEquals(20.0, rate.perSecond())
    }

    @Test
    fun warmUpEndsWhereItDoesInPython() {
        for (case in Vectors.read("statistics.json").objects("warm_up")) {
            val values = case.numbers("milliseconds")
            val runs = (1..values.size).find { WarmUp.isOver(values.take(it), case.whole("max")) }
            assertEquals(case.wholeOrNull("runs"), runs)
        }
    }

    @Test
    fun linesAreReadAndWrittenAlike() {
        for (case in Vectors.read("protocol.json").objects("lines")) {
            val text = case.text("text")
            val value = Lines.decode(text)
            if (!case.flag("ok")) {
                assertNull(value, text.take(80))
                continue
            }
            assertEquals(Json.write(case.child("value").raw()), Json.write(value))
            assertEquals(text, Lines.encode(value!!))
        }
    }

    @Test
    fun pathsAndIds() {
        val json = Vectors.read("protocol.json")
        val paths = json.child("paths")
        val ids = json.child("ids")
        paths.list("good").forEach { assertTrue(isSafePath(it as String), it) }
        paths.list("bad").forEach { assertTrue(!isSafePath(it as String), it) }
        ids.list("good").forEach { assertTrue(isJobId(it as String), it) }
        ids.list("bad").forEach { assertTrue(!isJobId(it as String), it) }
    }

    @Test
    fun resumeLeavesWhatIsLeft() {
        val case = Vectors.read("protocol.json").child("resume")
        val names = case.list("files").map { it as String }
        val count = case.whole("count")
        val content = """"sha256":"${"0".repeat(64)}""""
        val files = names.joinToString { """{"name":"$it","path":"models/$it",$content,"target":"tflite","twin":null}""" }
        val items = (0 until count).joinToString { """{"name":"$it","path":"inputs/$it.png",$content,"target":null}""" }
        val job =
            Job.parse(
                """{"schema":"${Job.SCHEMA}","id":"${case.text("job")}","manifest":{"path":"manifest.json",$content},
                "files":[$files],"inputs":{"kind":"images","count":$count,"items":[$items]},"golden":[],
                "configurations":${Json.write(case.objects("configurations").map { it.raw() })},
                "accuracy":true,"latency":null,"sustained_seconds":0,"logits":false}""",
            )
        val progress = Progress(job)
        val resume =
            mapOf(
                "schema" to Progress.SCHEMA,
                "job" to job.id,
                "answered" to case.child("answered").raw(),
                "finished" to emptyList<Any>(),
            )
        progress.addResume(Json.write(resume))
        progress.addStream(case.list("lines").map { it as String }.asSequence())
        for (file in job.files) {
            assertEquals(case.child("left").numbers(file.name).map { it.toInt() }, progress.left(file))
        }
    }
}
