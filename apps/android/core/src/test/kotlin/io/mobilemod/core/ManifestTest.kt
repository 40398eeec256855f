package io.mobilemod.core

import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

class ManifestTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private fun text(change: (String) -> String = { it }): String {
        val bundle = TestBundle(temporary.newFolder())
        return change(File(bundle.folder, "manifest.json").readText())
    }

    @Test
    fun readsABundle() {
        val manifest = Manifest.parse(text())
        assertEquals(listOf("class 0", "class 1", "class 2", "class 3"), manifest.labels)
        assertEquals(PreprocessSpec.Interpolation.BICUBIC, manifest.preprocess.interpolation)
        assertEquals(listOf("net_int8.tflite", "net_float32.tflite"), manifest.runnable(listOf("tflite")).map { it.file })
        assertEquals(emptyList(), manifest.runnable(listOf("executorch")))
    }

    @Test
    fun followsAnotherBundle() {
        val other = TestBundle(temporary.newFolder(), 192, classes = 7, interpolation = "bilinear").manifest
        assertEquals(7, other.labels.size)
        val classifier = Classifier(other, other.files[0], LinearEngine(TestBundle.SEED, 7))
        val image = TestBundle.writeNoise(temporary.newFile("a.png"), 300, 200, 5)
        val top = classifier.classify(image, 3).top
        val expected = topK(LinearEngine(TestBundle.SEED, 7).run(Preprocessor(other.preprocess).tensor(image)), 3)
        assertEquals(expected.map { "class ${it.index}" }, top.map { it.label })
        assertEquals(3 * 192 * 192, Preprocessor(other.preprocess).inputSize)
        assertEquals(1, classifier.latency()!!.count)
    }

    @Test
    fun readsARectangleAndStretching() {
        val spec = TestBundle(temporary.newFolder(), 24, 40).manifest.preprocess
        assertEquals(listOf(24, 40), listOf(spec.height, spec.width))
        assertEquals(PreprocessSpec.Fit.CROP, spec.fit)
        assertEquals(listOf(1L, 3, 24, 40), Preprocessor(spec).inputShape.toList())
        val stretched = Manifest.parse(text { it.replaceFirst("\"size\":32", "\"size\":32,\"fit\":\"stretch\"") }).preprocess
        assertEquals(PreprocessSpec.Fit.STRETCH, stretched.fit)
    }

    @Test
    fun refusesAModelOfAnotherSize() {
        val manifest = TestBundle(temporary.newFolder()).manifest
        val image = TestBundle.writeNoise(temporary.newFile("b.png"), 40, 40, 6)
        val error = assertFailsWith<JsonException> { Classifier(manifest, manifest.files[0], LinearEngine(1, 9)).classify(image) }
        assertEquals("the model has 9 outputs, manifest.json 4 labels", error.message)
    }

    @Test
    fun saysWhatIsWrong() {
        val changes =
            listOf(
                "\"schema\":\"mobilemod/manifest/1\"" to "\"schema\":\"mobilemod/manifest/2\"",
                "\"num_classes\":4" to "\"num_classes\":5",
                "\"interpolation\":\"bicubic\"" to "\"interpolation\":\"lanczos\"",
                "\"crop_fraction\":0.9" to "\"crop_fraction\":1.9",
                "\"color\":\"RGB\"" to "\"color\":\"BGR\"",
                "\"layout\":\"NCHW\"" to "\"layout\":\"CHWN\"",
                "\"size\":32" to "\"size\":32,\"gamma\":2",
                "\"size\":32" to "\"size\":[32]",
                "\"size\":32" to "\"size\":[32,0]",
                "\"size\":32" to "\"size\":32,\"fit\":\"squash\"",
                "\"golden\"" to "\"gold\"",
            )
        val messages =
            changes.map { (from, to) ->
                assertFailsWith<JsonException>(to) { Manifest.parse(text { it.replaceFirst(from, to) }) }.message!!
            }
        val ofSize = listOf("gamma", "size has 1 values", "at least 1", "fit 'squash'")
        val expected = listOf("schema", "4 labels for 5 classes", "lanczos", "1.9", "BGR", "CHWN") + ofSize + "'golden' is missing"
        expected.zip(messages).forEach { (part, message) -> assertContains(message, part) }
    }

    @Test
    fun warnsOfAnotherRuntime() {
        val manifest = Manifest.parse(text())
        assertNull(manifest.versionWarning("executorch", "1.5.1"))
        assertContains(assertNotNull(manifest.versionWarning("executorch", "1.6.0")), "1.5.1")
        assertNull(manifest.versionWarning("coreml", "1"))
    }

    @Test
    fun probabilitiesSumToOne() {
        val shares = softmax(floatArrayOf(1000f, 999f, Float.NaN))
        assertEquals(1f, shares.sum(), 1e-6f)
        assertTrue(shares[0] > shares[1] && shares[2] == 0f)
    }
}
