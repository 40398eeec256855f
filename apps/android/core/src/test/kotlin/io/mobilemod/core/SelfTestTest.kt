package io.mobilemod.core

import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class SelfTestTest {
    @get:Rule
    val temporary = TemporaryFolder()
    private lateinit var bundle: TestBundle

    @Before
    fun makeBundle() {
        bundle = TestBundle(temporary.newFolder())
    }

    private fun faults(run: (FloatArray) -> FloatArray): List<Fault> {
        val test = SelfTest(bundle.manifest, "net_float32.tflite")
        return bundle.manifest.golden.map {
            test.check(it, TestBundle.decodePng(File(bundle.folder, it.image)), PreprocessSpec.Layout.NCHW, run).fault
        }
    }

    private val right = LinearEngine(TestBundle.SEED, 4)
    private val plane get() = bundle.height * bundle.width

    @Test
    fun passesWhereTheRuntimeIsRight() = assertEquals(listOf(Fault.NONE, Fault.NONE), faults(right::run))

    @Test
    fun findsASwappedColourOrder() {
        val found =
            faults { x ->
                right.run(
                    FloatArray(x.size) {
                        x[(2 - it / plane) * plane + it % plane].let { v ->
                            renormalized(
                                v,
                                2 - it / plane,
                                it / plane,
                            )
                        }
                    },
                )
            }
        assertEquals(setOf(Fault.COLOR_ORDER), found.toSet())
    }

    // The value of channel `from`, normalized as channel `to`: what a swap before normalization does.
    private fun renormalized(
        value: Float,
        from: Int,
        to: Int,
    ): Float = bundle.manifest.preprocess.let { (value * it.std[from] + it.mean[from] - it.mean[to]) / it.std[to] }

    @Test
    fun findsASecondNormalization() {
        // The network normalizes what the app has normalized already: raw values in 0…1 are right.
        val spec = bundle.manifest.preprocess
        val found = faults { x -> right.run(FloatArray(x.size) { (x[it] - spec.mean[it / plane]) / spec.std[it / plane] }) }
        assertEquals(setOf(Fault.NOT_NORMALIZED), found.toSet())
    }

    @Test
    fun findsATransposedLayout() {
        val found = faults { x -> right.run(FloatArray(x.size) { x[3 * (it % plane) + it / plane] }) }
        assertEquals(setOf(Fault.TRANSPOSED), found.toSet())
    }

    @Test
    fun blamesTheRuntimeForTheRest() {
        assertEquals(setOf(Fault.RUNTIME), faults(LinearEngine(99, 4)::run).toSet())
        assertEquals(setOf(Fault.RUNTIME), faults { FloatArray(4) { Float.NaN } }.toSet())
        assertEquals(setOf(Fault.RUNTIME), faults { FloatArray(3) }.toSet())
    }

    @Test
    fun anInt8FileMayBeFiveStepsOff() {
        val manifest = bundle.manifest
        val step = 0.25f
        val logits = mapOf("net_int8.tflite" to listOf(0f, step, 3 * step, -step))
        val changed = manifest.copy(golden = manifest.golden.take(1).map { it.copy(logits = logits) })
        assertEquals(5 * step + 1e-3f, SelfTest.tolerance(changed, "net_int8.tflite"))
        assertTrue(SelfTest.tolerance(changed, "net_float32.tflite") < step)
    }
}
