package io.mobilemod.core.maps

import io.mobilemod.core.Classifier
import io.mobilemod.core.Fault
import io.mobilemod.core.JsonException
import io.mobilemod.core.LinearEngine
import io.mobilemod.core.Manifest
import io.mobilemod.core.PreprocessSpec
import io.mobilemod.core.Preprocessor
import io.mobilemod.core.SelfTest
import io.mobilemod.core.TestBundle
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.assertContains
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

/** A bundle whose answers are maps: its manifest, its self-test, and what is shown of an image. */
class MapBundleTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private val size = MapSize(4, 6)

    private fun bundle() = TestBundle(temporary.newFolder(), 24, 32, classes = 3, map = size)

    private val engine = LinearEngine(TestBundle.SEED, 3 * size.pixels)

    @Test
    fun saysWhatIsWrong() {
        val text = File(bundle().folder, "manifest.json").readText()
        assertEquals(size, Manifest.parse(text).map)
        val changes =
            mapOf(
                "[4,6]" to "[4,7]" to "runs of net_int8.tflite: 24 pixels of 28",
                "[4,6]" to "[4]" to "map [4] is not height and width",
                "[4,6]" to "[0,6]" to "at least 1",
                "[4,6]" to "4" to "'map' is not an array",
                "\"runs\"" to "\"logits\"" to "'runs' is missing",
            )
        for ((change, message) in changes) {
            val (from, to) = change
            val error = assertFailsWith<JsonException>(to) { Manifest.parse(text.replaceFirst(from, to)) }
            assertContains(error.message!!, message)
        }
    }

    /** The same bundle, whose files give the maps themselves. */
    private fun ofClasses(): Manifest {
        val text = File(bundle().folder, "manifest.json").readText()
        assertEquals(false, Manifest.parse(text).givesClasses)
        for ((answer, map) in listOf("\"map\"" to "\"map\":[4,6],", "\"classes\"" to "")) {
            val changed = text.replaceFirst("\"map\":[4,6],", "$map\"answer\":$answer,")
            val error = assertFailsWith<JsonException> { Manifest.parse(changed) }
            assertContains(error.message!!, "is not one of scores")
        }
        return Manifest.parse(text.replaceFirst("{", "{\"answer\":\"classes\","))
    }

    @Test
    fun aFileMayGiveTheMapItself() {
        val manifest = ofClasses()
        val image = TestBundle.writeNoise(temporary.newFile("a.png"), 100, 70, 5)
        val x = Preprocessor(manifest.preprocess).tensor(image)
        val scores = Scores(engine.run(x), size, 3, ClassOrder.LAST)
        val codes = FloatArray(size.pixels) { scores.map().code(it).toFloat() }
        val given = manifest.mapOutput(codes, "tflite")!!
        assertContentEquals(scores.map().codes, given.map().codes)
        assertContentEquals(scores.map().laidOn(MapSize(24, 32)).codes, given.smoothMap(MapSize(24, 32)).codes)
        val test = SelfTest(manifest, "net_int8.tflite")
        val golden = manifest.golden[0]
        val decoded = TestBundle.writeNoise(temporary.newFile("1.png"), 32, 24, 0)
        val pixels = Preprocessor(manifest.preprocess).let { it.normalize(it.asIs(decoded)) }
        val right = Scores(engine.run(pixels), size, 3, ClassOrder.LAST).map()

        fun fault(answer: (Int) -> Int) =
            test
                .check(golden, decoded, PreprocessSpec.Layout.NCHW) { FloatArray(size.pixels) { i -> answer(right.code(i)).toFloat() } }
                .fault
        assertEquals(Fault.NONE, fault { it })
        assertEquals(Fault.RUNTIME, fault { (it + 1) % 3 })
        val none = codes.copyOf().also { it[7] = NONE.toFloat() }
        assertEquals(
            setOf(NONE),
            manifest
                .mapOutput(none, "tflite")!!
                .map()
                .run { codes.indices.map(::code) }
                .toSet(),
        )
        val other = codes.copyOf().also { it[7] = 3f }
        for (wrong in listOf(other, codes + 1f, engine.run(x))) {
            assertFailsWith<JsonException> { manifest.mapOutput(wrong, "tflite") }
        }
    }

    private fun faults(run: (FloatArray) -> FloatArray): Set<Fault> {
        val bundle = bundle()
        val test = SelfTest(bundle.manifest, "net_int8.tflite")
        return bundle.manifest.golden
            .map { test.check(it, TestBundle.decodePng(File(bundle.folder, it.image)), PreprocessSpec.Layout.NCHW, run).fault }
            .toSet()
    }

    @Test
    fun theSelfTestComparesMaps() {
        assertEquals(setOf(Fault.NONE), faults(engine::run))
        val plane = 24 * 32
        assertEquals(setOf(Fault.TRANSPOSED), faults { x -> engine.run(FloatArray(x.size) { x[3 * (it % plane) + it / plane] }) })
        assertEquals(setOf(Fault.RUNTIME), faults(LinearEngine(99, 3 * size.pixels)::run))
        assertEquals(setOf(Fault.RUNTIME), faults { FloatArray(3 * size.pixels) { Float.NaN } })
        assertEquals(setOf(Fault.RUNTIME), faults { FloatArray(3) })
    }

    @Test
    fun anImageHasAMapAndItsClasses() {
        val manifest = bundle().manifest
        val image = TestBundle.writeNoise(temporary.newFile("a.png"), 100, 70, 5)
        val classifier = Classifier(manifest, manifest.files[0], engine)
        val scores = Scores(engine.run(Preprocessor(manifest.preprocess).tensor(image)), size, 3, ClassOrder.LAST)
        val found = classifier.classify(image)
        val segmented = found.segmented!!
        assertContentEquals(scores.map().codes, segmented.map.codes)
        assertEquals(listOf(100, 70), listOf(segmented.width, segmented.height))
        assertEquals(manifest.preprocess.window(100, 70), segmented.window)
        assertEquals(segmented.map.shares().map { "class ${it.code}" }, found.top.map { it.label })
        assertEquals(1f, found.top.map { it.share }.sum(), 1e-6f)
        val smooth = classifier.classify(image, smooth = true).segmented!!.map
        assertContentEquals(scores.smoothMap(MapSize(24, 32)).codes, smooth.codes)
        assertFailsWith<JsonException> { Classifier(manifest, manifest.files[0], LinearEngine(1, 9)).classify(image) }
    }

    @Test
    fun aMapCoversWhatTheNetworkSees() {
        val spec = bundle().manifest.preprocess.copy(height = 50, width = 50, cropFraction = 1.0)
        assertEquals(Window(0.25, 0.0, 0.75, 1.0), spec.window(200, 100))
        assertEquals(Window(0.0, 0.25, 1.0, 0.75), spec.window(100, 200))
        assertEquals(Window(0.0, 0.0, 1.0, 1.0), spec.copy(fit = PreprocessSpec.Fit.STRETCH).window(200, 100))
        assertEquals(Window(0.25, 0.25, 0.75, 0.75), spec.copy(cropFraction = 0.5).window(70, 70))
        val barred = spec.copy(fit = PreprocessSpec.Fit.LETTERBOX).window(200, 100)
        assertEquals(Window(0.0, -0.5, 1.0, 1.5), barred)
        val map = ClassMap(MapSize(4, 2), byteArrayOf(1, 1, 2, 2, 3, 3, 4, 4))
        assertContentEquals(byteArrayOf(-1, -1, 2, 2, 3, 3, -1, -1), barred.withoutBars(map).codes)
    }
}
