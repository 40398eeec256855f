package io.mobilemod.core

import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue

class BenchmarkTest {
    @get:Rule
    val temporary = TemporaryFolder()

    @Test
    fun keepsEveryValueAndSeesTheSlowdown() {
        val manifest = TestBundle(temporary.newFolder()).manifest
        var now = 0L
        val device = TestDevice({ now })
        // 5 ms an inference, 10 ms after the first 200 s: the clock is the test's own.
        val engine =
            object : io.mobilemod.core.harness.Engine by LinearEngine(1, 4) {
                override fun run(input: FloatArray): FloatArray {
                    now += if (now < 200_000_000_000L) 5_000_000L else 10_000_000L
                    return FloatArray(4)
                }
            }
        val benchmark = Benchmark(manifest, BenchmarkPlan(manifest.files[0], 2, "cpu", 300.0), device)
        benchmark.run(engine)
        val record = JsonObject.parse(benchmark.record(), "record")
        assertEquals(Benchmark.SCHEMA, record.text("schema"))
        assertEquals(record.child("latency").whole("runs"), record.list("ms").size)
        assertEquals(record.list("ms").size, record.list("at").size)
        assertEquals(5.0, record.child("sustained").child("first").number("p50_ms"))
        assertEquals(100.0, record.child("sustained").number("loss_percent"), 1e-9)
        assertEquals(16, record.whole("warm_up_runs"))
        assertTrue(record.objects("states").size >= 60)
    }

    @Test
    fun stopsWhenTold() {
        val manifest = TestBundle(temporary.newFolder()).manifest
        val benchmark = Benchmark(manifest, BenchmarkPlan(manifest.files[0], 1, "cpu", 1e9, warmUpMax = 1), TestDevice())
        var calls = 0
        benchmark.run(LinearEngine(1, 4), stopped = { ++calls > 10 })
        assertTrue((benchmark.summary()?.count ?: 0) <= 10)
    }

    @Test
    fun aRollingWindowForgets() {
        val window = RollingWindow(3)
        assertNull(window.summary())
        listOf(100.0, 1.0, 2.0, 3.0).forEach(window::add)
        assertEquals(3.0, window.summary()!!.max)
        window.clear()
        assertNull(window.summary())
    }
}
